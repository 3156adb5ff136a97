"""The contents of files in a directory: `files/ab/cdef…`, by their SHA-256.

A content is received as a draft, which is on disk before it is linked to its place. Each process has a directory of
its own for drafts; its name tells whether that process still lives.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway import paths, private_file

#: name of the directory of drafts in that of the contents
DRAFTS = "drafts"
_HEX_DIGITS = frozenset("0123456789abcdef")


class DirectoryDraft:
    """A file in the directory of drafts. It is opened when something is written."""

    def __init__(self, path: Path, directory: Path, durable_groups: set[str]) -> None:
        """Args:
        directory: where the contents are.
        durable_groups: names of the directories in it that are known to be on disk; more are added.
        """
        #: where it is on disk until it is discarded
        self.path = path
        self._directory = directory
        self._durable_groups = durable_groups
        self._hash = hashlib.sha256()
        self._descriptor: int | None = None
        self._is_discarded = False
        #: a draft may be discarded while a thread writes to it, whose caller was cancelled
        self._lock = threading.Lock()
        self.size = 0
        self.sha256: str | None = None

    def write(self, data: bytes) -> None:
        with self._lock:
            self._write(data)

    def finish(self, data: bytes = b"") -> str:
        with self._lock:
            self._write(data)
            os.fsync(self._open())
            self._close()
            self.sha256 = sha256 = self._hash.hexdigest()
            to = locate_content(self._directory, sha256)
            self._place(to)
            self._sync_place(to)  # another process may have placed it, and not got that far
            return sha256

    def place(self) -> None:
        with self._lock:
            to = locate_content(self._directory, self._hash.hexdigest())
            if self._place(to):
                self._sync_place(to)

    def discard(self) -> None:
        with self._lock:
            self._is_discarded = True
            self._close()
            self.path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        descriptor = self._open()
        self._hash.update(data)
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        self.size += len(data)

    def _sync_place(self, to: Path) -> None:
        """Put the entry of a content on disk, and that of its directory."""
        private_file.sync_path(to.parent)
        if to.parent.name not in self._durable_groups:
            private_file.sync_path(self._directory)
            self._durable_groups.add(to.parent.name)

    def _place(self, to: Path) -> bool:
        """Link the draft to its place; return False if the content is there."""
        if to.exists():
            return False
        to.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            os.link(self.path, to)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            _copy_durably(self.path, to)  # a file system without hard links
        return True

    def _open(self) -> int:
        if self._is_discarded:
            raise OSError(errno.ECANCELED, "the draft was discarded")
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
            try:
                self._descriptor = os.open(self.path, flags, 0o600)
            except FileNotFoundError:
                paths.make_private_directory(self.path.parent)
                private_file.sync_path(self._directory.parent)
                self._descriptor = os.open(self.path, flags, 0o600)
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


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
        self._numbers = itertools.count(1)
        #: names of the directories in it that are known to be on disk
        self._durable_groups: set[str] = set()

    def open_draft(self) -> DirectoryDraft:
        path = self._directory / DRAFTS / self._owner / f"{next(self._numbers):x}"
        return DirectoryDraft(path, self._directory, self._durable_groups)

    async def fetch(self, sha256: str) -> Path:
        return self.locate(sha256)

    def locate(self, sha256: str) -> Path:
        """Return where a content is, if it is there."""
        return locate_content(self._directory, sha256)

    def remove(self, sha256: str) -> None:
        self.locate(sha256).unlink(missing_ok=True)

    def list_contents(self) -> Iterator[list[str]]:
        for first in range(256):
            group = self._directory / f"{first:02x}"
            try:
                names = os.listdir(group)
            except (FileNotFoundError, NotADirectoryError):
                continue
            yield [group.name + name for name in names if len(name) == 62 and _HEX_DIGITS.issuperset(name)]

    def remove_abandoned_drafts(self) -> int:
        removed = 0
        drafts = self._directory / DRAFTS
        for place in list(drafts.iterdir()) if drafts.is_dir() else ():
            if place.is_dir() and place.name != self._owner and not self._is_alive(_decode_owner(place.name)):
                removed += len(os.listdir(place))
                shutil.rmtree(place, ignore_errors=True)
        return removed


def locate_content(directory: Path, sha256: str) -> Path:
    return directory / sha256[:2] / sha256[2:]


def _encode_owner(owner: str) -> str:
    """Return the name of a process as that of a directory on any system."""
    return owner.encode().hex()


def _decode_owner(name: str) -> str:
    try:
        return bytes.fromhex(name).decode()
    except ValueError:
        return ""


def _copy_durably(draft: Path, to: Path) -> None:
    """Copy a draft so that it appears at its place only when all of it is on disk.

    The copy is made among the drafts: what a crash leaves there is removed with them.
    """
    half = draft.with_suffix(".copy")
    try:
        with draft.open("rb") as reading, open(half, "wb", opener=_open_private) as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
            writing.flush()
            os.fsync(writing.fileno())
        os.replace(half, to)
    finally:
        half.unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
