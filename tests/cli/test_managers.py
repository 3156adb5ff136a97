"""Steps are all taken, or none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cli.managers import Step, carry_out, put
from gateway.errors import GatewayError


class Trail:
    """Steps that note what is done, and fail where they are told to."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def step(self, name: str, error: BaseException | None = None, undo_error: Exception | None = None) -> Step:
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


def test_ctrl_c_takes_all_back() -> None:
    trail = Trail()

    with pytest.raises(KeyboardInterrupt):
        carry_out([trail.step("a"), trail.step("b", KeyboardInterrupt())])

    assert trail.noted == ["a", "b", "not b", "not a"]


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
