"""Finishes a restore that was interrupted in its last step, before a gateway or a command uses the state directory."""

from __future__ import annotations

from pathlib import Path

from gateway import paths
from gateway.errors import AlreadyRunning
from gateway.supervisor import lock


def is_interrupted(home: Path) -> bool:
    """Return whether a restore into a state directory was interrupted in its last step."""
    return paths.restore_plan_file(home).exists()


def describe_interruption(home: Path) -> str | None:
    """Return what to say about a restore that was interrupted; None if none was, or one is under way."""
    if not is_interrupted(home) or lock.is_held(paths.restore_lock_file(home)):
        return None
    return f"A restore into {paths.display_path(home)} was interrupted in its last step. Finish it: gateway start"


def finish_interrupted_restore(home: Path) -> bool:
    """Finish the restore into a state directory, if one was interrupted. Returns whether there was one.

    Raises:
        AlreadyRunning: it goes on just now.
        ConfigError: it cannot be finished.
    """
    if not is_interrupted(home):
        return False
    from gateway.backup import pending  # late: a supervisor would keep it

    held = lock.try_lock(paths.restore_lock_file(home))
    if held is None:
        raise AlreadyRunning("a backup is restored into this state directory just now.", remedy="Wait for its end.")
    try:
        return pending.finish_plan(home)
    finally:
        held.release()
