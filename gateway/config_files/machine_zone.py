"""Finds the time zone of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: a link to, or a copy of, the rules of the zone: https://www.freedesktop.org/software/systemd/man/latest/localtime.html
LOCALTIME_FILE = Path("/etc/localtime")
#: the name of the zone on Debian, for a `LOCALTIME_FILE` that is a copy
TIMEZONE_FILE = Path("/etc/timezone")
#: what `TZ` may say for `LOCALTIME_FILE`, besides its path
NAME_OF_LOCALTIME = "localtime"
OTHER_NAMES_OF_UTC = frozenset("Etc/UTC Etc/UCT Etc/Universal Etc/Zulu UCT Universal Zulu".split())


def find_machine_zone(env: Mapping[str, str]) -> str:
    """Return the IANA name of the time zone in which this machine shows the time; `UTC` if it has no such name.

    Args:
        env: the environment; `TZ` comes before the files of the system, which it may also name.
    """
    named = env["TZ"].removeprefix(":") if "TZ" in env else NAME_OF_LOCALTIME
    paths = [os.path.realpath(named) if os.path.isabs(named) else named]
    if named in (NAME_OF_LOCALTIME, str(LOCALTIME_FILE)):
        paths = [os.path.realpath(LOCALTIME_FILE), _read_name()]
    names = (path.rpartition("zoneinfo/")[2].removeprefix("posix/").removeprefix("right/") for path in paths)
    return next((name for name in names if name not in OTHER_NAMES_OF_UTC and _is_known(name)), "UTC")


def _read_name() -> str:
    try:
        return TIMEZONE_FILE.read_text("utf-8", "replace")[:100].strip()
    except OSError:
        return ""


def _is_known(name: str) -> bool:
    if name == "UTC":
        return True
    import zoneinfo  # late: many machines show UTC, and the supervisor keeps all that it loads

    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True
