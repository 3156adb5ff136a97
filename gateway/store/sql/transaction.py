"""What the operations of the store work with: a reader for queries, a transaction for writes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from gateway.domain.budget import CalendarDays
from gateway.domain.event import Change, Event
from gateway.domain.run import ClaimedRun, Run
from gateway.store.sql.dialect import Dialect
from gateway.store.sql.readers import TimeLimit
from gateway.store.sql.unreadable import UnreadableRows

D = TypeVar("D", bound="Deferred")

#: the values of a statement: in order, or by name
Bindings = Sequence[Any] | Mapping[str, Any]


class Rows(Protocol):
    """The rows of a statement."""

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...

    @property
    def get(self) -> Any:
        """The value of a first row with one column; the first row if it has several; None if there is no row."""
        ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def close(self, force: bool = False, /) -> None: ...


class Connection(Protocol):
    """What statements run on. They are written for SQLite; another database gets them translated."""

    def execute(self, statement: str, bindings: Any = None, /) -> Rows: ...

    def executemany(self, statement: str, bindings: Iterable[Any], /) -> Any: ...

    def changes(self) -> int:
        """Return how many rows the last statement wrote."""
        ...

    def total_changes(self) -> int:
        """Return how many rows were written since the connection was opened."""
        ...


class Reader:
    """What a query works with: the connection, and the time of the query."""

    def __init__(
        self,
        connection: Connection,
        now: int,
        days: CalendarDays,
        unreadable: UnreadableRows,
        dialect: Dialect,
        limit: TimeLimit | None = None,
    ) -> None:
        #: what the statements run on
        self.connection = connection
        self._execute = connection.execute
        self._cursors: list[weakref.ref[Rows]] = []
        #: what is said otherwise in another database
        self.dialect = dialect
        #: milliseconds since 1970 UTC
        self.now = now
        #: tells which day that is
        self.days = days
        #: the rows that could not be decoded
        self.unreadable = unreadable
        #: until when the query may go on; None if it has no limit
        self.limit = limit

    def execute(self, statement: str, bindings: Bindings | None = None) -> Rows:
        """Run a statement; its rows can be read until the query ends."""
        cursor = self._execute(statement, bindings)
        self._cursors.append(weakref.ref(cursor))
        return cursor

    def stream(self, statement: str, bindings: Bindings | None = None) -> Rows:
        """Run a statement whose rows may be too large for the memory together. Read them before the next statement."""
        rows = self.dialect.stream(self.connection, statement, bindings)
        self._cursors.append(weakref.ref(rows))
        return rows

    def close_cursors(self) -> None:
        """Reset the statements whose rows were not all read.

        After an error its traceback keeps their cursors alive. An open statement keeps its connection at the moment
        at which it began: every later read would answer from the past, and every later write would fail.
        """
        for reference in self._cursors:
            if (cursor := reference()) is not None:
                cursor.close(True)
        self._cursors.clear()


class Deferred(Protocol):
    """Rows of one kind that a transaction writes at its end, all at once: that is cheaper than one by one."""

    #: how many were added
    added: int

    def __init__(self) -> None: ...

    def write(self, tx: Transaction) -> None:
        """Write all rows."""
        ...


class Transaction(Reader):
    """What a write operation works with: the connection, one timestamp for all its rows, what is written at the end,
    and lists of the events and changes to announce after the commit.
    """

    def __init__(
        self,
        connection: Connection,
        beginning: Beginning,
        days: CalendarDays,
        unreadable: UnreadableRows,
        dialect: Dialect,
        limits: StoreLimits,
        owner: str,
    ) -> None:
        super().__init__(connection, beginning.now, days, unreadable, dialect)
        #: the number of the last change; None if that was not read yet
        self.last_change = beginning.last_change
        #: runs a statement that returns no rows once for each set of bindings
        self.execute_many = connection.executemany
        self.changes_made = connection.changes
        #: returns how many rows were written since the connection was opened
        self.total_changes = connection.total_changes
        #: runs that may be queued or held
        self.queue_limit = limits.queue
        #: bytes that all files may have together
        self.file_quota = limits.file_quota
        #: see `Database.owner`
        self.owner = owner
        self.events: list[Event] = []
        self.changes: list[Change] = []
        #: the runs that it ends, and those that it claims
        self.ended: list[Run] = []
        self.claimed: list[ClaimedRun] = []
        #: whether there may be more to claim
        self.is_claim_due = False
        #: runs that have stopped running: there is room for others
        self.stopped: list[Run] = []
        #: agents with runs that may begin now
        self.ready_agents: set[str] = set()
        self._deferred: dict[type[Deferred], Deferred] = {}
        self._unread: list[tuple[Rows, Callable[[Rows], object]]] = []
        #: how many deferred rows are written
        self._deferred_before = 0

    def defer(self, kind: type[D]) -> D:
        """Return the rows of a kind that are written at the end of the transaction, to add to them."""
        found = self._deferred.get(kind)
        if found is None:
            found = self._deferred[kind] = kind()
        return cast("D", found)

    def read_later(self, rows: Rows, use: Callable[[Rows], object]) -> None:
        """Use rows that no operation needs: before the end of the transaction, and without a wait of their own."""
        if self.dialect.answers_late:
            self._unread.append((rows, use))
        else:
            use(rows)

    @property
    def has_unread(self) -> bool:
        """Whether rows were left for later."""
        return bool(self._unread)

    def read_unread(self) -> None:
        """Use the rows that were left for later."""
        unread, self._unread = self._unread, []
        for rows, use in unread:
            use(rows)

    def write_deferred(self) -> None:
        """Write what is deferred now: at the end, or before an operation that reads such rows."""
        deferred, self._deferred = self._deferred, {}
        for rows in deferred.values():
            self._deferred_before += rows.added
            rows.write(self)

    def insert(self, statement: str, bindings: Bindings) -> int:
        """Run a statement that inserts one row, which its column `seq` numbers; return that number."""
        return self.dialect.insert(self.connection, statement, bindings)

    def update(self, statement: str, bindings: Bindings) -> Callable[[], bool]:
        """Run a statement that updates one row; return a function that tells whether the row was there."""
        return self.dialect.update(self.connection, statement, bindings)

    def count_writes(self) -> int:
        """Return a number that changes with each row that is written or deferred."""
        deferred = sum(rows.added for rows in self._deferred.values())
        return self.dialect.count_writes(self.connection) + self._deferred_before + deferred


class Beginning(NamedTuple):
    """What a transaction knows from its begin on."""

    #: its time, in milliseconds since 1970 UTC
    now: int
    #: the number of the last change, 0 if there was none; None if that is not known
    last_change: int | None = None


class StoreLimits(NamedTuple):
    """How much may be stored."""

    #: runs that may be queued or held
    queue: int
    #: bytes that all files may have together
    file_quota: int
