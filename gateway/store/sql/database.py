"""One writer thread with group commit, and threads for readers.

All waiting operations are committed together, so the disk syncs once for a whole batch. There is no timer: a
single write is committed at once. An operation that fails does not fail the others in its batch: if it has written
nothing, they go on without it; otherwise the batch is rolled back and each operation runs in its own transaction.
The event loop is woken once per batch.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

from gateway.domain.budget import CalendarDays
from gateway.domain.ports.store import Commit, Listener
from gateway.domain.times import Clock
from gateway.errors import TimedOut, Unavailable
from gateway.store.sql.dialect import Dialect
from gateway.store.sql.readers import ReadConnection, ReaderPool, TimeLimit
from gateway.store.sql.transaction import Beginning, Connection, Reader, StoreLimits, Transaction
from gateway.store.sql.unreadable import UnreadableRows

T = TypeVar("T")

#: operations in one transaction
MAX_BATCH_OPERATIONS = 512
#: operations that may wait; the next one is refused
MAX_WAITING_OPERATIONS = 20_000
#: seconds between batches while another process writes to the same database
SHARED_WRITER_PAUSE_SECONDS = 0.002
#: read-only connections, one thread each
READER_CONNECTIONS = 2
#: seconds that a read, a search, and a read of housekeeping may take
READ_TIMEOUT_SECONDS, SEARCH_TIMEOUT_SECONDS, HOUSEKEEPING_READ_TIMEOUT_SECONDS = 10.0, 5.0, 60.0


Operation = Callable[[Transaction], Any]


class _WaitingOperation(NamedTuple):
    operation: Operation
    future: asyncio.Future[Any]
    #: whether it has a transaction of its own
    alone: bool


class _OperationResult(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: Exception | None


class Database(ABC):
    """The database of one process. Use from one event loop."""

    #: what this database says in its own words
    dialect: ClassVar[Dialect]
    #: the name of this process, if attempts and deliveries of others may have the same numbers as its own
    owner = ""

    def __init__(self, connection: Connection, clock: Clock, days: CalendarDays, limits: StoreLimits) -> None:
        """Args: connection: the one that writes."""
        self._connection = connection
        self._limits = limits
        self._days = days
        self._clock = clock
        self.unreadable = UnreadableRows(clock)
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_WaitingOperation | None] = queue.SimpleQueue()
        self._listeners: list[Listener] = []
        self._closed = False
        self._concurrent_writer = False
        self._last_operation: Operation | None = None
        self._readers = ReaderPool(self._open_reader, "store-reader", READER_CONNECTIONS)
        #: what may take long has a reader of its own, so that no other read waits for it
        self._slow_reader = ReaderPool(self._open_reader, "store-slow-reader", 1)
        self._housekeeping_reader = ReaderPool(self._open_reader, "store-housekeeping", 1)
        self._thread = threading.Thread(target=self._run_writer, name="store-writer", daemon=True)
        self._thread.start()

    def subscribe(self, listener: Listener) -> None:
        """Call a function after each commit, on the event loop, with what the commit put on disk."""
        self._listeners.append(listener)

    def set_last_operation(self, operation: Operation | None) -> None:
        """Run an operation at the end of each transaction from now on. If it fails, the others are done without it."""
        self._last_operation = operation

    async def write(self, operation: Callable[[Transaction], T], *, alone: bool = False) -> T:
        """Run an operation in a transaction; when this returns, it is on disk.

        Args:
            alone: whether the transaction has no other operation, because this one changes something else, too, and
                relies on what it reads: what others in the batch have written may be rolled back.

        Raises:
            StorageFull: the disk is full; nothing was written.
            Unavailable: the disk or the server refuses the write, or too many operations wait; nothing was written,
                unless the message says that this is not known.
        """
        if self._closed:
            raise Unavailable("the gateway is stopping.")
        if self._queue.qsize() >= MAX_WAITING_OPERATIONS:
            raise Unavailable("too many writes are waiting.", remedy="Try again in a moment.")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_WaitingOperation(operation, future, alone))
        return await future

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Run a query on a read-only connection; it sees everything that is committed.

        Raises:
            TimedOut: it took longer than `READ_TIMEOUT_SECONDS`.
        """
        return await self._read_in(self._readers, query, READ_TIMEOUT_SECONDS)

    async def read_slowly(self, query: Callable[[Reader], T], seconds: float) -> T:
        """Run a query that may take long: one at a time, on a connection that other reads do not use.

        Raises:
            TimedOut: it took longer than so many seconds, or those before it did.
        """
        try:
            async with asyncio.timeout(2 * seconds):
                return await self._read_in(self._slow_reader, query, seconds)
        except TimeoutError:
            raise TimedOut(
                f"other searches have kept the database busy for {2 * seconds:g} s.", remedy="Try again later."
            ) from None

    async def read_for_housekeeping(self, query: Callable[[Reader], T]) -> T:
        """Run a query that nobody waits for, on a connection of its own: no search waits for it.

        Raises:
            TimedOut: it took longer than `HOUSEKEEPING_READ_TIMEOUT_SECONDS`.
        """
        return await self._read_in(self._housekeeping_reader, query, HOUSEKEEPING_READ_TIMEOUT_SECONDS)

    async def _read_in(self, pool: ReaderPool, query: Callable[[Reader], T], seconds: float) -> T:
        if self._closed:
            raise Unavailable("the gateway is stopping.")
        return await pool.run_read(lambda connection, limit: self._run_query(query, connection, limit), seconds)

    def set_concurrent_writer(self, present: bool) -> None:
        """Say whether another process writes to the same database; then pause after each batch.

        Without the pause one of the two writers starves: the lock of a database is not fair.
        """
        self._concurrent_writer = present

    @abstractmethod
    async def count_external_commits(self) -> int:
        """Return a number that changes when another process has committed."""

    async def close(self) -> None:
        """Finish all waiting operations, then close. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._readers.close)
        await asyncio.to_thread(self._slow_reader.close)
        await asyncio.to_thread(self._housekeeping_reader.close)
        await asyncio.to_thread(self._close_writer)

    # --- what each database does in its own way -----------------------------------------------

    @abstractmethod
    def _open_reader(self) -> ReadConnection:
        """Open a connection that reads. Called by the thread that will use it."""

    @abstractmethod
    def _begin(self) -> Beginning:
        """Begin a transaction that excludes all others."""

    @abstractmethod
    def _commit(self, written: Transaction) -> None:
        """Commit: when this returns, the transaction is on disk."""

    @abstractmethod
    def _roll_back(self) -> None:
        """Give up the transaction, if there is one. This raises nothing: the next `_begin` does."""

    @abstractmethod
    def _may_continue(self) -> bool:
        """Return whether a transaction may go on after an operation of it has failed."""

    @abstractmethod
    def _is_worth_retrying(self, error: Exception) -> bool:
        """Return whether the operations of a failed batch may succeed one by one."""

    @abstractmethod
    def _translate_error(self, error: Exception) -> Exception:
        """Return the error to raise to the caller for an error of the database."""

    @abstractmethod
    def _close_writer(self) -> None:
        """Close the connection that writes, the last one that is open."""

    # --- on the threads of the readers ------------------------------------------------------

    def _run_query(self, query: Callable[[Reader], T], connection: Connection, limit: TimeLimit) -> T:
        reader = Reader(connection, self._clock(), self._days, self.unreadable, self.dialect, limit)
        try:
            return query(reader)
        except Exception as error:
            if (told := self._translate_error(error)) is error:
                raise
            raise told from error
        finally:
            reader.close_cursors()

    # --- on the writer's thread -------------------------------------------------------------

    def _run_writer(self) -> None:
        open_ = True
        while open_:
            batch = [self._queue.get()]
            while len(batch) < MAX_BATCH_OPERATIONS:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            open_ = None not in batch
            waiting = [item for item in batch if item is not None]
            if together := [item for item in waiting if not item.alone]:
                self._commit_batch(together)
            for item in waiting:
                if item.alone:
                    self._commit_batch([item])
            if self._concurrent_writer:
                time.sleep(SHARED_WRITER_PAUSE_SECONDS)

    def _commit_batch(self, batch: list[_WaitingOperation], *, alone: bool = False) -> None:
        """Run operations in one transaction.

        Args:
            alone: whether this is a second try, without the last operation.
        """
        transaction = None
        last = None if alone else self._last_operation
        try:
            transaction = self._make_transaction(self._begin())
            done = [self._run_operation(item, transaction) for item in batch]
            if last is not None:
                last(transaction)
                transaction.close_cursors()
            transaction.read_unread()
            transaction.write_deferred()
            self._commit(transaction)
            transaction.is_claim_due |= alone
        except Exception as error:
            self._roll_back()
            if transaction is not None:
                transaction.close_cursors()
            if not alone and self._is_worth_retrying(error):
                for item in batch:
                    self._commit_batch([item], alone=True)
                return
            done = [_OperationResult(item.future, None, self._translate_error(error)) for item in batch]
            transaction = self._make_transaction(Beginning(0))
        self._loop.call_soon_threadsafe(self._announce_commit, done, transaction)

    def _make_transaction(self, beginning: Beginning) -> Transaction:
        return Transaction(
            self._connection, beginning, self._days, self.unreadable, self.dialect, self._limits, self.owner
        )

    def _run_operation(self, item: _WaitingOperation, transaction: Transaction) -> _OperationResult:
        """Run one operation. Its error fails the whole batch only if it has written something."""
        before = transaction.count_writes()
        try:
            return _OperationResult(item.future, item.operation(transaction), None)
        except Exception as error:
            # A savepoint for each operation would also work, but costs a third of the throughput.
            if transaction.count_writes() != before or not self._may_continue():
                raise
            return _OperationResult(item.future, None, self._translate_error(error))
        finally:
            transaction.close_cursors()

    # --- on the event loop ------------------------------------------------------------------

    def _announce_commit(self, done: list[_OperationResult], written: Transaction) -> None:
        try:
            if written.events or written.changes or written.is_claim_due:
                commit = Commit(
                    events=written.events,
                    changes=written.changes,
                    ended=written.ended,
                    claimed=written.claimed,
                    is_claim_due=written.is_claim_due,
                )
                for listener in self._listeners:
                    self._tell_listener(listener, commit)
        finally:
            for item in done:
                _resolve_future(item)

    def _tell_listener(self, listener: Listener, commit: Commit) -> None:
        """Tell one listener; its error is reported, and the others are told all the same."""
        try:
            listener(commit)
        except Exception as error:
            self._loop.call_exception_handler({"message": "a listener of the store broke", "exception": error})


def _resolve_future(done: _OperationResult) -> None:
    if done.future.done():  # the caller has gone away; the operation is done all the same
        return
    if done.error is None:
        done.future.set_result(done.result)
    else:
        done.future.set_exception(done.error)
