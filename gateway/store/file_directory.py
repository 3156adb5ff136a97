"""The contents of files in a directory: `files/ab/cdef…`, by their SHA-256.

A content is received as a draft, which is on disk before it is linked to its place. Each process has a directory of
its own for drafts; its name tells whether that process still lives.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from gateway import paths

#: name of the directory of drafts in that of the contents
DRAFTS = "drafts"
_HEX_DIGITS = frozenset("0123456789abcdef")


class DirectoryDraft:
    """A file in the directory of drafts."""

    def __init__(self, path: Path, locate: Callable[[str], Path]) -> None:
        self._path = path
        self._locate = locate
        self._hash = hashlib.sha256()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        self._is_open = True
        self.size = 0

    def write(self, data: bytes) -> None:
        self._hash.update(data)
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
        self.size += len(data)

    def finish(self) -> str:
        os.fsync(self._descriptor)
        self._close()
        sha256 = self._hash.hexdigest()
        self.place()
        _sync_directory(self._locate(sha256).parent)  # another process may have placed it, and not got that far
        return sha256

    def place(self) -> None:
        to = self._locate(self._hash.hexdigest())
        if to.exists():
            return
        if not to.parent.exists():
            with contextlib.suppress(FileExistsError):
                to.parent.mkdir(mode=0o700)
            _sync_directory(to.parent.parent)
        try:
            os.link(self._path, to)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            _copy_durably(self._path, to)  # a file system without hard links
        _sync_directory(to.parent)

    def discard(self) -> None:
        self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._descriptor)


class FileDirectory:
    """`ContentStore` in a directory."""

    def __init__(self, directory: Path, owner: str, is_alive: Callable[[str], bool]) -> None:
        """Args:
        owner: name of this process among all that may use the directory.
        is_alive: whether the process with a name still lives.
        """
        self._directory = directory
        self._owner = _encode_owner(owner)
        self._is_alive = is_alive
        self._number = 0

    def open_draft(self) -> DirectoryDraft:
        own = self._directory / DRAFTS / self._owner
        self._number += 1
        name = f"{self._number:x}"
        try:
            return DirectoryDraft(own / name, self.locate)
        except FileNotFoundError:
            paths.make_private_directory(own)
            _sync_directory(self._directory.parent)
            return DirectoryDraft(own / name, self.locate)

    def locate(self, sha256: str) -> Path:
        return self._directory / sha256[:2] / sha256[2:]

    def remove(self, sha256: str) -> None:
        self.locate(sha256).unlink(missing_ok=True)

    def list_contents(self) -> list[str]:
        if not self._directory.is_dir():
            return []
        return [
            group.name + content.name
            for group in self._directory.iterdir()
            if len(group.name) == 2 and group.is_dir()
            for content in group.iterdir()
            if len(content.name) == 62 and _HEX_DIGITS.issuperset(group.name + content.name)
        ]

    def remove_abandoned_drafts(self) -> int:
        removed = 0
        drafts = self._directory / DRAFTS
        for place in list(drafts.iterdir()) if drafts.is_dir() else ():
            if place.name != self._owner and not self._is_alive(_decode_owner(place.name)):
                removed += len(list(place.iterdir()))
                shutil.rmtree(place, ignore_errors=True)
        return removed


def _encode_owner(owner: str) -> str:
    """Return the name of a process as that of a directory on any system."""
    return owner.encode().hex()


def _decode_owner(name: str) -> str:
    try:
        return bytes.fromhex(name).decode()
    except ValueError:
        return ""


def _copy_durably(source: Path, to: Path) -> None:
    """Copy a file so that it appears at its place only when all of it is on disk."""
    half = to.with_name(f"{source.name}.{to.name}"[:200])
    with source.open("rb") as reading, half.open("wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())
    os.replace(half, to)


def _sync_directory(directory: Path) -> None:
    """Put a directory's entries on disk; Windows does that by itself, and cannot open directories."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
