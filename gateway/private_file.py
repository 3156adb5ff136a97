"""Private files: written completely or not at all, readable by their owner only; links are never followed.

Standard library only, so that `gateway status` is quick.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def replace_private_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file.

    Args:
        durable: whether the file must survive a power failure. Waiting for the disk takes time, so say
            False for a file that nobody needs after a restart of the machine.

    Raises:
        OSError: it cannot be written; the present file stays as it is, and no draft is left.
    """
    with _write_draft(path, content, durable=durable) as draft:
        draft.replace(path)
    if durable:
        _sync_directory(path.parent)


def create_private_file(path: Path, content: bytes) -> bool:
    """Write a file only if there is none; return False if there is one.

    Raises:
        OSError: it cannot be written; no draft is left.
    """
    with _write_draft(path, content, durable=True) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    _sync_directory(path.parent)
    return True


def read_private_file(path: Path, max_bytes: int) -> bytes:
    """Return at most the first `max_bytes` of a file.

    Raises:
        OSError: there is no such file, it is a link or a directory, or it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_WAIT)  # if the path is a pipe, it must not block
    try:
        return os.read(descriptor, max_bytes)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _write_draft(path: Path, content: bytes, *, durable: bool) -> Iterator[Path]:
    """Write a draft in the same directory; remove it at the end of the block if it is still there."""
    draft = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        yield draft
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Make a new name in a directory durable, if possible. Windows cannot open a directory, and needs no such step."""
    if os.name == "nt":
        return
    # The file itself is complete. Some file systems refuse this step, a directory may be unreadable, and a process
    # may have too many open files.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
