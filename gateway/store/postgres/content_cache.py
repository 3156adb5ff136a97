"""Copies of contents on the disk of this machine. All of it may be removed at any time: it is fetched again.

Several processes may share the directory. A copy is used only after its SHA-256 was checked: once by each process, and
again when the file has changed.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.store.file_directory import DirectoryDraft, FileDirectory

#: bytes that all copies may have together; those used a moment ago count, but are not removed
MAX_CACHE_BYTES = 2_000_000_000
#: seconds after its last use in which a copy is removed in no case: somebody may be about to open it
CACHE_GRACE_SECONDS = 300.0
#: seconds after its last use in which a copy is kept if there is room
CACHE_USE_SECONDS = 86_400.0
#: checked copies that are known; then all are forgotten, and checked again
MAX_KNOWN_COPIES = 10_000
#: bytes that are read at once to check a copy
CHECK_BYTES = 1 << 20


class _Copy(NamedTuple):
    """A copy in the directory."""

    #: when it was last used, in seconds since 1970 UTC
    used: float
    size: int
    sha256: str


class ContentCache:
    """A directory with copies of contents. Its methods block."""

    def __init__(self, directory: FileDirectory, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        #: what tells whether a file that was checked has changed since, by its SHA-256
        self._checked: dict[str, tuple[int, int, int]] = {}
        self._lock = threading.Lock()
        self._grown = 0

    def open_draft(self) -> DirectoryDraft:
        return self._directory.open_draft()

    def locate(self, sha256: str) -> Path:
        return self._directory.locate(sha256)

    def find_checked(self, sha256: str) -> bool:
        """Return whether there is a good copy, and note its use. A damaged one is removed.

        Raises:
            OSError: the disk refuses.
        """
        path = self.locate(sha256)
        try:
            status = path.stat()
            found = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._checked.get(sha256) != found:
                if _compute_sha256(path) != sha256:
                    self.remove(sha256)
                    return False
                if len(self._checked) >= MAX_KNOWN_COPIES:
                    self._checked.clear()
                self._checked[sha256] = found
            os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
        except FileNotFoundError:
            return False
        return True

    def remove(self, sha256: str) -> None:
        self._checked.pop(sha256, None)
        self._directory.remove(sha256)

    def remove_abandoned_drafts(self) -> int:
        return self._directory.remove_abandoned_drafts()

    def count_added(self, size: int) -> bool:
        """Count bytes that were added. Returns whether they are so many that a sweep is due."""
        with self._lock:
            self._grown += size
            return self._grown > self._max_bytes // 8

    def sweep(self, find_stored: Callable[[Sequence[str]], Collection[str]]) -> int:
        """Remove copies that were not used for long, those of contents that are gone, and the oldest if they are too
        many. Returns their number.

        Args:
            find_stored: returns those of some contents that are not gone.
        """
        with self._lock:
            self._grown = 0
        now = time.time()
        kept: list[_Copy] = []
        removed = 0
        for hashes in self._directory.list_contents():
            unneeded, needed = self._sort_copies(hashes, find_stored, now)
            removed += self._remove_copies(unneeded)
            kept += needed
        excess = sum(copy.size for copy in kept) - self._max_bytes
        for copy in sorted(kept):
            if excess <= 0 or copy.used > now - CACHE_GRACE_SECONDS:
                break
            removed += self._remove_copies([copy])
            excess -= copy.size
        return removed

    def _sort_copies(
        self, hashes: Sequence[str], find_stored: Callable[[Sequence[str]], Collection[str]], now: float
    ) -> tuple[list[_Copy], list[_Copy]]:
        """Return those copies that are not needed, and those that are."""
        stored = set(find_stored(hashes)) if hashes else set()
        unneeded: list[_Copy] = []
        needed: list[_Copy] = []
        for copy in filter(None, map(self._look_at, hashes)):
            is_over = copy.sha256 not in stored or copy.used < now - CACHE_USE_SECONDS
            in_use = copy.used > now - CACHE_GRACE_SECONDS
            (unneeded if is_over and not in_use else needed).append(copy)
        return unneeded, needed

    def _look_at(self, sha256: str) -> _Copy | None:
        try:
            status = self.locate(sha256).stat()
        except FileNotFoundError:
            return None
        return _Copy(max(status.st_atime, status.st_mtime), status.st_size, sha256)

    def _remove_copies(self, copies: Sequence[_Copy]) -> int:
        for copy in copies:
            self.remove(copy.sha256)
        return len(copies)


def _compute_sha256(path: Path) -> str:
    computed = hashlib.sha256()
    with path.open("rb") as reading:
        while piece := reading.read(CHECK_BYTES):
            computed.update(piece)
    return computed.hexdigest()
