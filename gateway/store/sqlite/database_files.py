"""Watches that the files of the open database are still the ones in its directory.

Who removes the write-ahead log under a running gateway does not stop it: SQLite goes on writing into a file that has
no name any more, and all of it is gone when the process ends.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import apsw

from gateway import log
from gateway.errors import Unavailable

_log = log.get()


class DatabaseFiles:
    """The files of a database that is open."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self._connection = connection
        self._known = {
            file: identity
            for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))
            if (identity := _identify(file)) is not None
        }
        self._database = path
        #: the file that was found to be gone
        self._lost: Path | None = None
        self._is_saved = False

    def check_files(self) -> None:
        """Check the files before and after a write.

        Raises:
            Unavailable: one of them was removed or replaced: what is written now would not be found again.
        """
        if self._lost is None:
            self._lost = next((file for file, identity in self._known.items() if _identify(file) != identity), None)
            if self._lost is None:
                return
            _log.error("store.file_lost", file=str(self._lost))
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
                _log.warning("store.log_saved", file=str(self._database))


def _identify(file: Path) -> tuple[int, int] | None:
    """Return what a file keeps as long as nobody replaces it; None if there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
