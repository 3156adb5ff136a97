"""How to begin again: decided from the environment alone, so that it can be told in a table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Plan(Enum):
    """What a restart does."""

    #: everything is taken down and built up again inside the one process there is
    IN_PROCESS = "in process"
    #: the supervisor starts a new generation and retires the old one
    GENERATION = "new generation"
    #: the supervisor becomes its new self in place: same PID, lock, sockets and generations
    REEXEC = "re-execute"
    #: the process exits with 75, and the service manager starts it again
    EXIT = "exit for the service manager"
    #: a detached successor is started, then the process exits
    SUCCESSOR = "detached successor"


def plan(env: Mapping[str, str], platform: str, hard: bool) -> Plan:
    """Decide how a restart is done.

    Args:
        env: the supervisor's environment.
        platform: as `sys.platform`.
        hard: whether the supervisor itself is to be replaced, too.
    """
    if env.get("MOONGATE_NO_RESPAWN") or env.get("XOPC_NO_RESPAWN"):
        return Plan.IN_PROCESS
    if platform != "win32":
        return Plan.REEXEC if hard else Plan.GENERATION
    return Plan.EXIT if supervised(env) else Plan.SUCCESSOR


def supervised(env: Mapping[str, str]) -> bool:
    """Tell whether a service manager looks after us: only our own marker counts."""
    return bool(env.get("MOONGATE_SERVICE_MARKER") or env.get("XOPC_SERVICE_MARKER"))


def may_restart_by_signal(env: Mapping[str, str]) -> bool:
    """Tell whether SIGUSR1 restarts without an intent that was left for it."""
    return "1" in (env.get("MOONGATE_ALLOW_SIGUSR1_RESTART"), env.get("XOPC_ALLOW_SIGUSR1_RESTART"))
