"""Steps are all taken, or none."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from cli.command import Interrupted
from cli.service import unit
from cli.service.manager import Manager, Step, carry_out, last_line, put
from gateway.errors import GatewayError


class Trail:
    """Steps that note what is done, and fail where they are told to."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def step(self, name: str, error: BaseException | None = None, undo_error: BaseException | None = None) -> Step:
        return Step(
            name,
            f"do {name}",
            lambda: self._note(name, error),
            lambda: self._note(f"not {name}", undo_error),
            f"mend {name}",
        )

    def _note(self, what: str, error: BaseException | None) -> None:
        self.noted.append(what)
        if error is not None:
            raise error


def test_all_steps_are_taken_in_their_order_and_told_of() -> None:
    trail, told = Trail(), list[str]()

    carry_out([trail.step("a"), trail.step("b")], told.append)

    assert (trail.noted, told) == (["a", "b"], ["a", "b"])


def test_a_step_that_fails_takes_back_itself_and_those_before_it() -> None:
    trail = Trail()

    with pytest.raises(GatewayError) as raised:
        carry_out([trail.step("a"), trail.step("b", GatewayError("no")), trail.step("c")])

    assert trail.noted == ["a", "b", "not b", "not a"]
    assert raised.value.message == "cannot b: no"
    assert raised.value.remedy == "Everything is as it was before.\nmend b"


def test_what_cannot_be_taken_back_is_named_and_the_rest_is_taken_back() -> None:
    trail = Trail()

    with pytest.raises(GatewayError, match=r"Left undone: b\."):
        carry_out([trail.step("a"), trail.step("b", undo_error=OSError("no")), trail.step("c", OSError("no"))])

    assert trail.noted == ["a", "b", "c", "not c", "not b", "not a"]


def test_ctrl_c_takes_all_back_and_says_so() -> None:
    trail, told = Trail(), list[str]()

    with pytest.raises(Interrupted) as raised:
        carry_out([trail.step("a"), trail.step("b", KeyboardInterrupt())], told.append)

    assert trail.noted == ["a", "b", "not b", "not a"]
    assert str(raised.value) == "Interrupted. Everything is as it was before."
    assert told == ["a", "b", "put everything back"]


def test_another_ctrl_c_while_all_is_taken_back_leaves_no_more_undone_than_it_must() -> None:
    trail = Trail()
    steps = [trail.step("a"), trail.step("b", undo_error=KeyboardInterrupt()), trail.step("c", KeyboardInterrupt())]

    with pytest.raises(Interrupted, match=r"Left undone: b\."):
        carry_out(steps)

    assert trail.noted == ["a", "b", "c", "not c", "not b", "not a"]


@pytest.mark.parametrize("name", unit.MANAGERS.values())
def test_each_manager_has_all_that_is_promised_of_one(name: str) -> None:
    module, _, kind = name.partition(".")

    made = getattr(importlib.import_module(f"cli.service.managers.{module}"), kind)

    promised = {name for name in (*vars(Manager), *Manager.__annotations__) if not name.startswith("_")}
    assert promised > {"journal", "name"}
    assert promised - set(dir(made)) == set()


def test_the_last_line_of_what_was_printed_is_told_unless_it_is_older(tmp_path: Path) -> None:
    file = tmp_path / "service.log"
    assert last_line(file, 0.0) == ""
    file.write_text("x" * 10_000 + "\nthe first\nthe last \n\n")
    os.utime(file, (100.0, 100.0))

    assert (last_line(file, 99.0), last_line(file, 101.0)) == ("the last", "")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_unit_that_the_disk_has_no_room_for_leaves_no_draft(tmp_path: Path) -> None:
    import resource

    file = tmp_path / "moongate.service"
    file.write_text("the one of before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            put(file, b"another one")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {file.name: "the one of before"}
