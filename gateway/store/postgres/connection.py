"""A connection to PostgreSQL that runs the shared statements, through libpq.

https://www.psycopg.org/psycopg3/docs/api/pq.html

A statement whose answer nobody needs yet is only put into libpq's pipeline: a transaction waits for the server where it
reads, and at its end. An error of such a statement is raised where the transaction waits next, and undoes all of it:
https://www.postgresql.org/docs/current/libpq-pipeline-mode.html.
"""

from __future__ import annotations

import contextlib
import selectors
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import errors
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from gateway.store.postgres.guarded import CANCEL_GRACE_SECONDS, LIMIT_CHECK_SECONDS, GuardedConnection, StatementWatch
from gateway.store.postgres.statements import repeat_values, translate
from gateway.store.postgres.values import DECODERS, decode_text, encode_values

if TYPE_CHECKING:
    from gateway.store.sql.transaction import Rows

#: statements after which the server gets them, to work on them while there come more
STATEMENTS_SENT_TOGETHER = 8
#: statements that the server keeps prepared: some are put together from parts
MAX_PREPARED_STATEMENTS = 500
#: rows that one statement of `executemany` inserts; fewer are inserted by powers of two
MAX_ROWS_PER_INSERT = 64

_FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED)


class _Prepared:
    """A statement that the server keeps prepared."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        #: how its rows are read; None until there were some
        self.decoders: tuple[Callable[[bytes], Any], ...] | None = None

    def choose_decoders(self, answer: PGresult) -> tuple[Callable[[bytes], Any], ...]:
        if self.decoders is None:
            types = map(answer.ftype, range(answer.nfields))
            self.decoders = tuple(DECODERS.get(found, decode_text) for found in types)
        return self.decoders


class PostgresRows:
    """The rows of a statement. The first use of them waits for the server."""

    def __init__(self, wait: Callable[[], None], prepared: _Prepared) -> None:
        self._wait = wait
        self._prepared = prepared
        self._answer: PGresult | None = None
        self._decoders: tuple[Callable[[bytes], Any], ...] = ()
        self._count = 0
        self._next = 0

    def take(self, answer: PGresult) -> None:
        """Keep what the server has answered."""
        self._answer = answer
        self._count = answer.ntuples
        if self._count:
            self._decoders = self._prepared.choose_decoders(answer)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    @property
    def get(self) -> Any:
        """The value of a first row with one column; the first row if it has several; None if there is no row."""
        row = self.fetchone()
        return row if row is None or len(row) > 1 else row[0]

    def fetchone(self) -> Any:
        if self._answer is None:
            self._wait()
        if self._answer is None or self._next >= self._count:
            return None
        number, read = self._next, self._answer.get_value
        self._next += 1
        cells = [(read(number, column), decode) for column, decode in enumerate(self._decoders)]
        return tuple([None if data is None else decode(data) for data, decode in cells])

    def fetchall(self) -> list[Any]:
        return list(self)

    @property
    def command_status(self) -> bytes | None:
        """What the server says that it has done."""
        return None if self._answer is None else self._answer.command_status

    def count_changes(self) -> int:
        """Return how many rows the statement wrote."""
        if self._answer is None:
            self._wait()
        return 0 if self._answer is None else self._answer.command_tuples or 0

    def close(self, force: bool = False, /) -> None:
        """Do nothing: the rows are in memory, and may be used later."""


class StreamedRows:
    """The rows of a statement that come one by one, as they are asked for."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        #: rows that had to be fetched before they were asked for
        self._fetched: deque[Any] = deque()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._fetched.popleft() if self._fetched else next(self._rows)

    def fetch_rest(self) -> None:
        """Take all rows into memory: the connection is needed for another statement."""
        self._fetched.extend(self._rows)

    @property
    def get(self) -> Any:
        """The value of a first row with one column; the first row if it has several; None if there is no row."""
        row = self.fetchone()
        return row if row is None or len(row) > 1 else row[0]

    def fetchone(self) -> Any:
        return next(self, None)

    def fetchall(self) -> list[Any]:
        return list(self)

    def close(self, force: bool = False, /) -> None:
        """End the statement; the server sends no more rows."""
        if isinstance(self._rows, Generator):
            self._rows.close()


class _Key(NamedTuple):
    """What a prepared statement is found by."""

    text: str
    #: the types of its parameters
    types: tuple[int, ...]


class PostgresConnection:
    """`Connection` of the shared statements. Use from one thread."""

    def __init__(self, psycopg_connection: GuardedConnection) -> None:
        self.psycopg = psycopg_connection
        self._libpq = psycopg_connection.pgconn
        self._libpq.enter_pipeline_mode()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._libpq.socket, selectors.EVENT_READ)
        self._watch = StatementWatch(psycopg_connection)
        self._streamed: StreamedRows | None = None
        self._prepared: dict[_Key, _Prepared] = {}
        #: what was sent and not answered yet: the key of a statement to prepare; the rows of one to run
        self._unanswered: list[_Key | PostgresRows] = []
        self._named = 0
        self._writes = 0
        self._changes = 0
        self._total_changes = 0

    def close(self) -> None:
        self._selector.close()
        self.psycopg.close()

    def execute(self, statement: str, bindings: Any = None, /) -> PostgresRows:
        """Run a statement, together with the next one whose rows are used."""
        translated = translate(statement)
        if translated.names:
            bindings = [bindings[name] for name in translated.names]
        self._writes += translated.writes
        return self._send(translated.text, bindings or ())

    def stream(self, statement: str, bindings: Any = None, /) -> Rows:
        """Run a statement whose rows may be too large for the memory together.

        In a transaction they are taken at once: to end a statement early would end the transaction.
        """
        self.settle()
        if self.psycopg.info.transaction_status is TransactionStatus.INTRANS:
            return self.execute(statement, bindings)
        self._prepare_to_send()
        self._streamed = StreamedRows(self._stream_rows(translate(statement).text, bindings or ()))
        return self._streamed

    def executemany(self, statement: str, bindings: Iterable[Any], /) -> None:
        """Run a statement that returns no rows once for each set of bindings, together with the next one."""
        translated = translate(statement)
        self._writes += 1
        rows = list(bindings)
        while rows:
            count = min(1 << len(rows).bit_length() - 1, MAX_ROWS_PER_INSERT)
            several = repeat_values(translated.text, count) if count > 1 else None
            if several is None:
                self._send(translated.text, rows.pop(0))
                continue
            some, rows = rows[:count], rows[count:]
            self._send(several, [value for row in some for value in row], is_typed=False)

    def changes(self) -> int:
        """Return how many rows the last statement wrote."""
        self.settle()
        return self._changes

    def total_changes(self) -> int:
        """Return how many rows were written since the connection was opened."""
        self.settle()
        return self._total_changes

    def count_writes(self) -> int:
        """Return how many statements that write were run since the connection was opened."""
        return self._writes

    def settle(self) -> None:
        """Wait for the answers to all that was sent.

        Raises:
            psycopg.Error: that of the first statement that failed.
        """
        if self._unanswered:
            unanswered, self._unanswered = self._unanswered, []
            self._wait(unanswered)

    @contextlib.contextmanager
    def lend(self) -> Iterator[psycopg.Connection[Any]]:
        """Let others use the connection, in the same transaction, who do not know of the pipeline."""
        self.settle()
        self._libpq.exit_pipeline_mode()
        try:
            yield self.psycopg
        finally:
            with contextlib.suppress(psycopg.Error):  # it is broken: the next statement says so
                self._libpq.enter_pipeline_mode()

    def _prepare_to_send(self) -> None:
        """Do what is necessary before the next statement.

        Raises:
            TimedOut, Unavailable: the read has reached its limit.
        """
        if self._streamed is not None:
            streamed, self._streamed = self._streamed, None
            streamed.fetch_rest()
        if self.psycopg.limit is not None:
            self.psycopg.limit.check()

    def _stream_rows(self, text: str, values: Sequence[Any]) -> Iterator[Any]:
        types, encoded = encode_values(values, is_typed=True)
        prepared = _Prepared(b"")
        with self.lend():
            try:
                self._libpq.send_query_params(text.encode(), encoded, types)
                self._libpq.set_single_row_mode()
                self._watch = StatementWatch(self.psycopg)
                self._flush()
                while (answer := self._receive()) is not None:
                    if answer.status in _FAILED:
                        raise errors.error_from_result(answer)
                    rows = PostgresRows(self.settle, prepared)
                    rows.take(answer)
                    yield from rows
                    self._watch = StatementWatch(self.psycopg)
            finally:
                self._end_stream()

    def _end_stream(self) -> None:
        """Let the server send no more rows, and leave those that are on their way."""
        with contextlib.suppress(psycopg.Error):
            if self.psycopg.info.transaction_status is TransactionStatus.ACTIVE:
                self.psycopg.cancel_safe(timeout=CANCEL_GRACE_SECONDS)
                self._watch = StatementWatch(self.psycopg)
            while self._receive() is not None:
                pass
            # An empty statement outside of the pipeline: libpq gives the rows of the next one together again.
            self._libpq.send_query(b"")
            self._flush()
            while self._receive() is not None:
                pass

    def _send(self, text: str, values: Sequence[Any], *, is_typed: bool = True) -> PostgresRows:
        self._prepare_to_send()
        types, encoded = encode_values(values, is_typed=is_typed)
        key = _Key(text, tuple(types))
        prepared = self._prepared.pop(key, None)
        if prepared is None:
            is_aborted = self.psycopg.info.transaction_status is TransactionStatus.INERROR  # refuses DEALLOCATE
            if len(self._prepared) >= MAX_PREPARED_STATEMENTS and not is_aborted:
                self._forget_prepared(next(iter(self._prepared)))
            self._named += 1
            prepared = _Prepared(b"s%d" % self._named)
            self._libpq.send_prepare(prepared.name, text.encode(), types)
            self._unanswered.append(key)
        self._prepared[key] = prepared  # at the end: the first one was not used for the longest time
        rows = PostgresRows(self.settle, prepared)
        self._libpq.send_query_prepared(prepared.name, encoded)
        self._unanswered.append(rows)
        if len(self._unanswered) % STATEMENTS_SENT_TOGETHER == 0:
            self._libpq.flush()
        return rows

    def _forget_prepared(self, key: _Key) -> None:
        """Let the server forget a statement, after all that was sent."""
        statement = b"DEALLOCATE " + self._prepared.pop(key).name
        self._libpq.send_query_params(statement, [])
        self._unanswered.append(_Key(statement.decode(), ()))

    def _wait(self, unanswered: Sequence[_Key | PostgresRows]) -> None:
        failed: PGresult | None = None
        self._watch = StatementWatch(self.psycopg)
        try:
            self._libpq.pipeline_sync()
            self._flush()
            for sent in unanswered:
                answer = self._receive()
                if answer is None:
                    raise psycopg.OperationalError("the connection to the server was lost")
                self._receive()  # None: the end of this answer
                if answer.status in _FAILED:
                    failed = failed or answer
                    if isinstance(sent, _Key):
                        self._prepared.pop(sent, None)
                elif isinstance(sent, PostgresRows):
                    sent.take(answer)
                    self._count_changes(answer)
            self._receive_end()
        except psycopg.OperationalError:
            if failed is None:
                raise
        if failed is not None:
            raise errors.error_from_result(failed)

    def _receive_end(self) -> None:
        """Receive the end of the pipeline.

        Raises:
            psycopg.OperationalError: something else came; the connection is closed.
        """
        answer = self._receive()
        if answer is None or answer.status != ExecStatus.PIPELINE_SYNC:
            self.psycopg.close()
            raise psycopg.OperationalError("the answers of the server are not in order")

    def _flush(self) -> None:
        while self._libpq.flush():  # the server's buffer is full
            self._selector.modify(self._libpq.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            self._wait_a_little()
            self._selector.modify(self._libpq.socket, selectors.EVENT_READ)
            self._libpq.consume_input()

    def _receive(self) -> PGresult | None:
        while self._libpq.is_busy():
            self._wait_a_little()
            self._libpq.consume_input()
        return self._libpq.get_result()

    def _wait_a_little(self) -> None:
        """Wait for the server to say something, and look at the limits."""
        self._selector.select(LIMIT_CHECK_SECONDS)
        self._watch.look()

    def _count_changes(self, answer: PGresult) -> None:
        if (answer.command_status or b"SELECT").startswith(b"SELECT"):
            return
        self._changes = answer.command_tuples or 0
        self._total_changes += self._changes
