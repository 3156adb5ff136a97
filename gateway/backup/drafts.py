"""Drafts of backups: files with names of their own until they are whole, and locked while they are written.

A process that is killed leaves its draft; the next backup into the same directory removes it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from gateway import private_file
from gateway.errors import Conflict

#: how the names of all drafts begin and end
_PREFIX, _SUFFIX = ".moongate-backup-", ".partial"


class Draft:
    """A draft that is open."""

    def __init__(self, file: BinaryIO, piece: Path, target: Path) -> None:
        self.file = file
        #: a path for a larger piece
        self.piece = piece
        #: the file that it becomes; after the block, the one that it became
        self.target = target


@contextlib.contextmanager
def open_draft(target: Path, find_free: Callable[[], Path] | None = None) -> Iterator[Draft]:
    """Open a draft next to the file that it becomes at the end of the block.

    If the block fails, nothing is left. Drafts of processes that were killed are removed first.

    Args:
        find_free: returns a name in the same directory to take in place of one that was taken meanwhile.

    Raises:
        Conflict: the file exists meanwhile.
        OSError: the directory cannot be written to.
    """
    remove_leftovers(target.parent)
    draft = target.parent / f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}"
    piece = draft.with_suffix(".piece")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(draft, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _try_lock(descriptor)
            opened = Draft(file, piece, target)
            yield opened
            file.flush()
            os.fsync(descriptor)
        opened.target = _place_draft(draft, target, find_free)
    finally:
        with contextlib.suppress(OSError):
            remove_piece(piece)
            draft.unlink(missing_ok=True)


def create_piece(piece: Path) -> None:
    """Create the empty file of a piece, which only its owner may read: programs that fill it would ask the umask.

    Raises:
        OSError: the disk refuses.
    """
    os.close(os.open(piece, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600))


def _place_draft(draft: Path, target: Path, find_free: Callable[[], Path] | None) -> Path:
    """Give a draft its name, unless something has that name; return the name."""
    while not _is_placed(draft, target):
        if find_free is None:
            raise Conflict(f"there is a file {target} already.", remedy="Give another name.")
        target = find_free()
    private_file.sync_names(target.parent)
    return target


def _is_placed(draft: Path, target: Path) -> bool:
    """Give a draft its name; return False if something has it."""
    if os.name != "nt" and hasattr(os, "link"):
        try:
            os.link(draft, target, follow_symlinks=False)
            return True
        except FileExistsError:
            return False
        except OSError:  # the file system has no hard links
            pass
    if os.path.lexists(target):
        return False
    draft.rename(target)
    return True


def remove_leftovers(directory: Path) -> None:
    """Remove the drafts of processes that have ended."""
    with contextlib.suppress(OSError):
        for draft in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                descriptor = os.open(draft, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
                try:
                    if _try_lock(descriptor):
                        remove_piece(draft.with_suffix(".piece"))
                        draft.unlink(missing_ok=True)
                finally:
                    os.close(descriptor)


def remove_piece(piece: Path) -> None:
    """Remove a piece that is no longer needed.

    Raises:
        OSError: the disk refuses.
    """
    for file in (piece, *piece.parent.glob(f"{piece.name}-*")):  # SQLite has files next to it
        file.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    """Lock a draft until its descriptor is closed; return False if another process writes it."""
    if os.name == "nt":
        return True  # an open file cannot be removed there
    import fcntl  # not every system has it

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
