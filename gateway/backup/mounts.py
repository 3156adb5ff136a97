"""What a rename cannot do: change the name of a mount point, or of what has one in it, or lead to another mount.

Two directories may be on one disk and yet be two mounts, as volumes of containers are; only the system knows.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

#: how the names of files begin that `can_move` makes for a moment
PROBE_PREFIX = ".restore-probe-"
#: the mounts that this process sees; only Linux has it
_MOUNTS_FILE = Path("/proc/self/mountinfo")


def find_mount(path: Path) -> Path | None:
    """Return the mount point that something is, or that is in it; None if there is none."""
    if path.is_symlink() or not os.path.lexists(path):
        return None
    real = Path(os.path.realpath(path.parent), path.name)
    if known := _list_mounts():
        return next((path / mount.relative_to(real) for mount in known if mount.is_relative_to(real)), None)
    return path if path.is_mount() else None


def can_move(source: Path, target: Path) -> bool:
    """Return whether names can be moved from one directory into another."""
    probe, name = (place / f"{PROBE_PREFIX}{os.urandom(8).hex()}" for place in (source, target))
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.rename(probe, name)
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            name.unlink(missing_ok=True)
            probe.unlink(missing_ok=True)
    return True


def _list_mounts() -> Sequence[Path]:
    try:
        lines = _MOUNTS_FILE.read_bytes().splitlines()
    except OSError:
        return []
    fields = [line.split(b" ") for line in lines]
    return [Path(os.fsdecode(_unescape(found[4]))) for found in fields if len(found) > 4]


def _unescape(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)
