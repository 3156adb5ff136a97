"""A connection that only reads, and ends a read that takes too long.

SQLite asks between the steps of a statement whether to go on: https://www.sqlite.org/c3ref/progress_handler.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from gateway.store.sql.readers import TimeLimit
from gateway.store.sqlite import opening

#: steps of SQLite's virtual machine between two checks of the time: a few milliseconds. Each check needs Python's
#: lock, for which a read may have to wait while the rest of the gateway is busy
STEPS_BETWEEN_TIME_CHECKS = 50_000


class SqliteReadConnection:
    """A read-only connection to a database that is open for writing."""

    def __init__(self, path: Path) -> None:
        self.connection = opening.open_reader(path)

    @contextmanager
    def limited(self, limit: TimeLimit) -> Iterator[None]:
        """End the statements that are still running when a limit is reached.

        Raises:
            TimedOut, Unavailable: a statement was ended.
        """
        self.connection.set_progress_handler(limit.is_reached, STEPS_BETWEEN_TIME_CHECKS)
        try:
            yield
        except apsw.InterruptError:
            raise limit.explain_end() from None
        finally:
            self.connection.set_progress_handler(None)

    def close(self) -> None:
        self.connection.close()
