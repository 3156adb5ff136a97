"""Steps that must not end the supervisor: an exception is logged, and the next step follows."""

from __future__ import annotations

from typing import Any

from gateway.supervisor.guard import StepGuard


def test_an_exception_in_a_step_is_logged_with_its_traceback_and_goes_no_further() -> None:
    logged: list[tuple[str, dict[str, Any]]] = []
    guard = StepGuard(lambda event, **about: logged.append((event, about)))

    def break_down(what: str) -> None:
        raise KeyError(what)

    assert guard.run_step(logged.clear)
    assert not guard.run_step(break_down, "here")

    ((event, about),) = logged
    assert (event, about["level"], about["step"]) == ("supervisor.step_failed", "error", "break_down")
    assert about["error"] == "KeyError: 'here'"
    assert "in break_down" in about["exception"]


def test_a_log_that_fails_does_not_end_the_loop_either() -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("the log is broken")

    assert not StepGuard(fail).run_step(fail)
