"""Steps that must not end the supervisor: an exception is logged, and the next step follows."""

from __future__ import annotations

import builtins
import errno
from typing import Any

import pytest

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


def test_an_exception_is_logged_without_its_traceback_where_nothing_can_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "traceback":
            raise OSError(errno.EMFILE, "no descriptor is left")
        return load(name, *args, **kwargs)

    logged: list[dict[str, Any]] = []
    guard = StepGuard(lambda _, **about: logged.append(about))
    monkeypatch.setattr(builtins, "__import__", refuse)

    assert not guard.run_step(lambda: 1 // 0)
    assert [(about["error"][:17], about["exception"]) for about in logged] == [("ZeroDivisionError", "")]
