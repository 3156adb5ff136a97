"""Keeps the supervisor's loop going: an exception in one step is logged, and the next step follows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

#: characters of the traceback that are logged, from its end
MAX_TRACEBACK_CHARS = 4_000


class StepGuard:
    """Runs steps that must not end the process."""

    def __init__(self, log_event: Callable[..., None]) -> None:
        self._log_event = log_event

    def run_step(self, step: Callable[..., object], *given: Any) -> bool:
        """Run a step; return False if it raised an exception, which is logged."""
        try:
            step(*given)
        except Exception as error:
            self._log_exception(getattr(step, "__name__", repr(step)), error)
            return False
        return True

    def _log_exception(self, step: str, error: Exception) -> None:
        with contextlib.suppress(Exception):  # the step that failed may be the log itself
            self._log_event(
                "supervisor.step_failed",
                level="error",
                step=step,
                error=f"{type(error).__name__}: {error}",
                exception=_format_traceback(error),
            )


def _format_traceback(error: Exception) -> str:
    """Return the end of an error's traceback; empty where nothing can be loaded: no descriptor may be left."""
    try:
        import traceback  # late: no step should fail
    except (OSError, ImportError):
        return ""
    return "".join(traceback.format_exception(error))[-MAX_TRACEBACK_CHARS:]
