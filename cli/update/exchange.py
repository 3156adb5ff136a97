"""Exchanges two directories, at once where the system can do that."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

from gateway.private_file import sync_names

#: `RENAME_EXCHANGE` of https://man7.org/linux/man-pages/man2/renameat2.2.html
_RENAME_EXCHANGE = 2
#: `RENAME_SWAP` of macOS, in sys/stdio.h
_RENAME_SWAP = 2
_AT_FDCWD = -100
#: the system or the file system cannot do it
_UNABLE = {errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.ENOTSUP}


def exchange_directories(one: Path, other: Path) -> None:
    """Exchange two directories. Where the system cannot do it at once, use two renames after a first to the side.

    What is in them is put on disk first: after a power failure, none of the two has empty files.

    Raises:
        OSError: they cannot be exchanged; both are where they were, unless the process was killed in between.
    """
    if hasattr(os, "sync"):
        os.sync()
    if _exchange_at_once(one, other):
        sync_names(one.parent)
        return
    aside = one.with_name(one.name + ".aside")
    one.rename(aside)
    try:
        other.rename(one)
    except OSError:
        aside.rename(one)
        raise
    aside.rename(other)
    sync_names(one.parent)


def restore_after_kill(one: Path, other: Path) -> None:
    """Complete an exchange by renames that was killed in between."""
    aside = one.with_name(one.name + ".aside")
    if aside.is_dir():
        aside.rename(other if one.exists() else one)


def _exchange_at_once(one: Path, other: Path) -> bool:
    """Return whether the two are exchanged; if not, the system cannot do it.

    Raises:
        OSError: it could, but failed.
    """
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(*names, ctypes.c_uint(_RENAME_SWAP))
        else:
            failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE))
    except AttributeError:  # an old libc
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _UNABLE:
        return False
    raise OSError(code, os.strerror(code), str(one))
