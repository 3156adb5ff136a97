"""Keeps an agent from ending the gateway that it works for: its own task would be tried again, and end it again.

An agent's processes are on record twice: they descend from the gateway's supervisor, and they inherit a mark that
names the serving process. A process that has detached itself has only the mark; one with another environment
only the ancestors.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from gateway.errors import Conflict
from gateway.process import identity, orphans
from gateway.process.identity import Identity
from gateway.supervisor.record import Record


def refuse_own_agent(found: Record | None, command: str, env: Mapping[str, str] = os.environ) -> None:
    """Refuse a command that would end a gateway, if it comes from an agent that works for this gateway.

    Args:
        found: the record of the gateway; None if there is none.
        command: what a person would type.

    Raises:
        Conflict: it comes from such an agent.
    """
    if found is not None and found.is_alive and _comes_from_agent(found.process_identity, env):
        raise Conflict(
            f"{command}: this comes from a task of the gateway itself (pid {found.pid}). It would interrupt the task,"
            " which would then be tried again.",
            remedy=f"A person can do it in a terminal: {command}\nFrom a task, restart it without losing anything:"
            " gateway restart",
        )


def _comes_from_agent(supervisor: Identity, env: Mapping[str, str]) -> bool:
    import psutil  # late: only commands that end a gateway need it

    with contextlib.suppress(psutil.Error):
        if any(parent.pid == supervisor.pid for parent in psutil.Process().parents()):
            return True
    serving = orphans.find_marking_process(env)
    if serving is None or not identity.is_alive(serving):
        return False
    if serving == supervisor:
        return True
    with contextlib.suppress(psutil.Error):
        return psutil.Process(serving.pid).ppid() == supervisor.pid
    return False
