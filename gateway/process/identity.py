"""The identity of a process: a PID alone may be recycled.

A PID with its start time in clock ticks and the boot id always names the same process. Ticks and boot
id are compared as they are: a wall-clock start time shifts when the clock is set.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

_SYSTEM_PLATFORM: str = sys.platform


class Identity(NamedTuple):
    """One process of one boot of one machine."""

    pid: int
    #: start time in the system's own unit, as text: ticks since boot on Linux
    started: str
    #: id of the boot in which the process runs; empty where the system has none
    boot: str

    def __str__(self) -> str:
        return f"{self.pid}/{self.started}/{self.boot}"

    @classmethod
    def parse_identity(cls, text: str) -> Identity:
        """Return the identity in a text that `str` made.

        Raises:
            ValueError: the text has another form.
        """
        pid, started, boot = text.split("/", 2)
        return cls(int(pid), started, boot)


@cache
def read_boot_id() -> str:
    """Return the id of this boot; empty where the system has none.

    Raises:
        OSError: it cannot be read now.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, PermissionError):
        return ""


def read_start_time(pid: int) -> str | None:
    """Return the start time of a live process in the system's own unit, or None if there is no such process.

    A zombie has ended and does not count.

    Raises:
        OSError: this cannot be told now, because no descriptor or memory is left.
    """
    if _SYSTEM_PLATFORM == "linux":
        return _read_linux_start_time(pid)
    if _SYSTEM_PLATFORM == "darwin":
        import subprocess  # late, like psutil below: Linux needs neither

        shown = subprocess.run(
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
        return shown.stdout.strip() or None
    import psutil  # late: only Windows needs it, and fast commands must stay fast elsewhere

    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _read_linux_start_time(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # the last: `hidepid` hides those of other users
        return None
    # The second field is the program's name in parentheses and may itself hold ") ": see proc(5).
    fields = stat[stat.rindex(b")") + 2 :].split()
    state, ticks = fields[0], fields[19]
    return None if state in (b"Z", b"X") else ticks.decode()


def identify_process(pid: int) -> Identity | None:
    """Return the identity of the live process with a PID, or None if there is none, or if this cannot be told now."""
    try:
        started = read_start_time(pid)
        return None if started is None else Identity(pid, started, read_boot_id())
    except OSError:
        return None


def own_identity() -> Identity:
    """Return the identity of this process. It is read once: later, there may be no descriptor to read it with."""
    return _read_own_identity(os.getpid())


@cache
def _read_own_identity(pid: int) -> Identity:
    me = identify_process(pid)
    assert me is not None, "a running process has a start time"
    return me


def is_alive(who: Identity) -> bool:
    """Return whether exactly this process still runs; also if this cannot be told now.

    Others end what belongs to a process that is gone. Who has no descriptor left must not take all of them for gone.
    """
    try:
        return who.boot == read_boot_id() and read_start_time(who.pid) == who.started
    except OSError:
        return True
