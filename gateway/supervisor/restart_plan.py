"""How to restart: depends on the environment only, so that a table can test it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from gateway import private_file
from gateway.supervisor.early_start import SINGLE_PROCESS_VARIABLES
from gateway.supervisor.marker import read_marker

#: the system of this process; tests choose another
CURRENT_PLATFORM: str = sys.platform
#: exit code that asks a service manager to start the gateway again
RESTART_EXIT_CODE = 75
#: seconds that a rehearsal of the new version may take
REHEARSAL_TIMEOUT_SECONDS = 10.0
_REHEARSAL_CODE = """
import os
from gateway import __main__, config, errors
try:
    config.load(os.environ)
except errors.GatewayError as error:
    raise SystemExit(str(error))
"""


class RestartPlan(Enum):
    """What a restart does."""

    #: the only process stops serving and starts to serve again
    IN_PROCESS = "in process"
    #: the supervisor starts a new generation and retires the old one
    GENERATION = "new generation"
    #: the supervisor re-executes in place: same PID, lock, sockets and generations
    REEXEC = "re-execute"
    #: the process exits with 75, and the service manager starts it again
    EXIT = "exit for the service manager"
    #: a detached successor is started, then the process exits
    SUCCESSOR = "detached successor"


def choose_plan(env: Mapping[str, str], platform: str, hard: bool) -> RestartPlan:
    """Return how to restart.

    Args:
        env: the supervisor's environment.
        platform: as `sys.platform`.
        hard: whether to replace the supervisor too.
    """
    if any(env.get(name) for name in SINGLE_PROCESS_VARIABLES):
        return RestartPlan.IN_PROCESS
    if platform != "win32":
        return RestartPlan.REEXEC if hard else RestartPlan.GENERATION
    return RestartPlan.EXIT if has_service_manager(env) else RestartPlan.SUCCESSOR


def has_service_manager(env: Mapping[str, str]) -> bool:
    """Return whether a service manager runs this gateway: only our own marker counts."""
    return read_marker(env) is not None


def may_restart_by_signal(env: Mapping[str, str]) -> bool:
    """Return whether SIGUSR1 causes a restart without an intent."""
    return "1" in (env.get("MOONGATE_ALLOW_SIGUSR1_RESTART"), env.get("XOPC_ALLOW_SIGUSR1_RESTART"))


def detached_options() -> dict[str, Any]:
    """Return the options of `subprocess.Popen` for a process that outlives this one and its terminal."""
    windows = getattr(subprocess, "DETACHED_PROCESS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    return {"stdin": subprocess.DEVNULL, "start_new_session": True, "creationflags": windows}


def command_without_option(option: str) -> list[str]:
    """Return the command line of this process, without an option and its value."""
    kept = [sys.executable]
    given = iter(sys.orig_argv[1:])
    for word in given:
        if word == option:
            next(given, None)
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept


def start_successor(env: Mapping[str, str], said: Path) -> None:
    """Start a detached successor. Call it last, when the lock and the port are free.

    Args:
        said: the file for its output.

    Raises:
        OSError: no process can be started, or the file cannot be written.
    """
    with os.fdopen(private_file.open_output_file(said, append=False), "wb") as console:
        process = subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env={**env, "MOONGATE_DETACHED": "1"},
            stdout=console,
            stderr=console,
            **detached_options(),
        )
    process.returncode = 0  # it outlives this process on purpose: no warning about a leak


def rehearse_start(env: Mapping[str, str]) -> str | None:
    """Return why the installed version cannot start, or None if it can: a re-execution cannot be undone."""
    words = [sys.executable, "-c", _REHEARSAL_CODE]
    try:
        done = subprocess.run(
            words,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=REHEARSAL_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{sys.executable} cannot be started: {error}"
    last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return None if done.returncode == 0 else last
