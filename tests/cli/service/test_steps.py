"""All steps are carried out, or undone."""

from __future__ import annotations

import pytest

from cli.command import Interrupted
from cli.service.steps import Step, carry_out
from gateway.errors import GatewayError


class Trail:
    """Makes steps that record what is done, and that fail with given errors."""

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

    with pytest.raises(GatewayError, match=r"Could not undo: b\."):
        carry_out([trail.step("a"), trail.step("b", undo_error=OSError("no")), trail.step("c", OSError("no"))])

    assert trail.noted == ["a", "b", "c", "not c", "not b", "not a"]


def test_ctrl_c_takes_all_back_and_says_so() -> None:
    trail, told = Trail(), list[str]()

    with pytest.raises(Interrupted) as raised:
        carry_out([trail.step("a"), trail.step("b", KeyboardInterrupt())], told.append)

    assert trail.noted == ["a", "b", "not b", "not a"]
    assert str(raised.value) == "Interrupted. Everything is as it was before."
    assert told == ["a", "b", "undo all steps"]


def test_another_ctrl_c_while_all_is_taken_back_leaves_no_more_undone_than_it_must() -> None:
    trail = Trail()
    steps = [trail.step("a"), trail.step("b", undo_error=KeyboardInterrupt()), trail.step("c", KeyboardInterrupt())]

    with pytest.raises(Interrupted, match=r"Could not undo: b\."):
        carry_out(steps)

    assert trail.noted == ["a", "b", "c", "not c", "not b", "not a"]
