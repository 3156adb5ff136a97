"""Finding what an opencode server leaves behind.

opencode gives each shell command a session of its own, so that no signal to the server's group
reaches it, and a server that dies does not end it. But a command inherits the environment: a mark
in there tells whose it is, and whether its gateway still lives.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

import psutil

from gateway import identity
from gateway.identity import Identity

#: the name of the mark in the environment
NAME = "GATEWAY_CHILD_OF"
#: how often to look again, for what was started while looking
_ROUNDS = 5


def mark() -> str:
    """Return a new mark: this process, and a name of its own for one server."""
    return f"{identity.own()}/{secrets.token_hex(8)}"


def end(own: str) -> None:
    """End every process with this mark."""
    _end(lambda found: found == own)


def end_abandoned() -> None:
    """End every process whose mark names a gateway that is gone."""
    _end(_abandoned)


def _abandoned(found: str) -> bool:
    try:
        return not identity.alive(Identity.parse(found.rpartition("/")[0]))
    except ValueError:
        return False


def _end(meant: Callable[[str], bool]) -> None:
    for _ in range(_ROUNDS):
        found = [process for process in psutil.process_iter() if meant(_mark_of(process))]
        for process in found:
            try:
                process.kill()
            except psutil.Error:
                continue
        if not found:
            return
        psutil.wait_procs(found, timeout=0.2)


def _mark_of(process: psutil.Process) -> str:
    try:
        return "" if process.pid == os.getpid() else process.environ().get(NAME, "")
    except (psutil.Error, OSError):
        return ""
