"""Ends processes that an agent leaves behind, in its process group and outside of it.

opencode starts each shell command in a new session, so a signal to its group does not reach the
command, and the command outlives opencode; codex and any program that calls `setsid` do the same. But a
command inherits the environment: a mark there names the gateway that it belongs to. Each agent process has one.
A process that leaves its session and empties its environment, too, is not found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gateway.process import identity
from gateway.process.identity import Identity

if TYPE_CHECKING:
    import psutil

#: environment variable that holds the mark
MARK_VARIABLE = "GATEWAY_CHILD_OF"
#: number of scans, because processes may start during a scan, and the seconds between scans
_MAX_SCAN_ROUNDS, _SCAN_PAUSE_SECONDS = 20, 0.02


def make_mark() -> str:
    """Return a new mark: the identity of this process, and a random name for one child."""
    return f"{identity.own_identity()}/{os.urandom(8).hex()}"


def end_marked(own: str) -> None:
    """End every process with this mark."""
    _end_matching(lambda found: found == own)


def end_ours() -> None:
    """End every process with a mark of this process."""
    _end_matching(lambda found: found.rpartition("/")[0] == str(identity.own_identity()), same_numbering=True)


def end_abandoned() -> None:
    """End every process whose mark names a gateway that is gone.

    Those of gateways in containers are left alone: their marks hold process numbers that mean nothing here.
    """
    _end_matching(_is_abandoned, same_numbering=True)


def kill_group(who: Identity, wait: float = 2.0) -> bool:
    """End the rest of a process group that the ledger of a dead gateway names.

    A recycled PID is not touched: while any member of the group lives, the kernel does not reuse its
    number, so another process with that PID means that the group is gone.

    Returns:
        Whether a process was ended.

    Raises:
        OSError: this cannot be told now, because no descriptor is left.
    """
    if who.boot != identity.read_boot_id() or sys.platform == "win32":
        return False
    if identity.read_start_time(who.pid) not in (None, who.started):
        return False
    try:
        os.killpg(who.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline and _is_group_running(who.pid):
        time.sleep(0.01)
    return True


def find_marking_process(env: Mapping[str, str]) -> Identity | None:
    """Return the serving process whose mark is in an environment; None without a mark."""
    return _parse_mark(env.get(MARK_VARIABLE, ""))


def _parse_mark(mark: str) -> Identity | None:
    try:
        return Identity.parse_identity(mark.rpartition("/")[0])
    except ValueError:
        return None


def _is_abandoned(found: str) -> bool:
    marking = _parse_mark(found)
    return marking is not None and not identity.is_alive(marking)


def _end_matching(matches: Callable[[str], bool], *, same_numbering: bool = False) -> None:
    """End the processes whose marks match.

    Args:
        same_numbering: leave out processes of other PID namespaces, which containers are.
    """
    import psutil  # late: many programs that may start children never do

    namespace = _read_pid_namespace("self") if same_numbering else None
    for _ in range(_MAX_SCAN_ROUNDS):
        found = [
            process
            for process in psutil.process_iter()
            if matches(_mark_of(process)) and (namespace is None or _read_pid_namespace(process.pid) == namespace)
        ]
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        # Not psutil's wait: it would take the exit status of our children away from asyncio.
        time.sleep(_SCAN_PAUSE_SECONDS)


def _read_pid_namespace(pid: int | str) -> str | None:
    """Return the PID namespace of a process: https://man7.org/linux/man-pages/man7/pid_namespaces.7.html.

    None if it is not known, or where there is none.
    """
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def _mark_of(process: psutil.Process) -> str:
    import psutil

    try:
        return "" if process.pid == os.getpid() else process.environ().get(MARK_VARIABLE, "")
    except (psutil.Error, OSError):
        return ""


def _is_group_running(group: int) -> bool:
    """Return whether any process of a process group still runs. Zombies do not count."""
    import psutil  # late: only after a crash

    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
