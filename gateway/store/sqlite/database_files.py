"""Watches that the files of the open database are still the ones in its directory.

Who removes the write-ahead log under a running gateway does not stop it: SQLite goes on writing into a file that has
no name any more, and all of it is gone when the process ends.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import apsw

from gateway import log
from gateway.errors import Unavailable

_log = log.get()

#: the time at which a directory changed is a clock that ticks, on some file systems only every second; after a change
#: that is older than this, the next one has another time
_SETTLED_NANOSECONDS = 2_000_000_000


class DatabaseFiles:
    """The files of a database that is open."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self._connection = connection
        self._known = {
            file: identity
            for file in (str(path), f"{path}-wal", f"{path}-shm")
            if (identity := _identify(file)) is not None
        }
        self._database = str(path)
        self._directory = str(path.parent)
        #: the directory in which all files were found, and when it had changed; None if that was a moment before
        self._checked: tuple[int, int, int] | None = None
        #: the file that was found to be gone
        self._lost: str | None = None
        self._is_saved = False

    def check_files(self) -> None:
        """Check the files before and after a write.

        Raises:
            Unavailable: one of them was removed or replaced: what is written now would not be found again.
        """
        if self._lost is None:
            # Removing, renaming and replacing a file change its directory: one look instead of three.
            began, directory = time.time_ns(), _identify_directory(self._directory)
            if directory is not None and directory == self._checked:
                return
            self._lost = next((file for file, identity in self._known.items() if _identify(file) != identity), None)
            if self._lost is None:
                settled = directory is not None and directory[-1] < began - _SETTLED_NANOSECONDS
                self._checked = directory if settled else None
                return
            _log.error("store.file_lost", file=self._lost)
        if not self._is_saved and self._lost != self._database:
            self._save_log()
        raise Unavailable(
            f"the file {self._lost} was removed or replaced while the gateway runs: nothing is accepted, because it"
            " would be lost.",
            remedy="Run: gateway restart"
            if self._is_saved
            else "Stop the gateway, then restore a copy of the database.",
        )

    def _save_log(self) -> None:
        """Move what is in the log that has no name any more into the database: it was acknowledged."""
        with contextlib.suppress(apsw.Error):
            busy, _, _ = next(self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
            self._is_saved = not busy
            if self._is_saved:
                _log.warning("store.log_saved", file=self._database)


def _identify(file: str) -> tuple[int, int] | None:
    """Return what a file keeps as long as nobody replaces it; None if there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _identify_directory(path: str) -> tuple[int, int, int] | None:
    """Return what a directory keeps as long as no entry is made, removed or renamed; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
