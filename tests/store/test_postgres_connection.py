"""The connection to PostgreSQL: it sends statements together, and still loses no error and changes no value."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from gateway.domain.budget import CalendarDays
from gateway.store.postgres import opening
from gateway.store.postgres.connection import MAX_ROWS_PER_INSERT, PostgresConnection
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sql.transaction import StoreLimits, Transaction
from tests.support import postgres

ADD_NOTE = "INSERT INTO notes (scope, name, value) VALUES (?, ?, ?)"
ALL_NOTES = "SELECT name, value FROM notes ORDER BY name"


@pytest.fixture
def url() -> str:
    return postgres.shared_server().url(postgres.create_database())


@pytest.fixture
def connection(url: str) -> Iterator[PostgresConnection]:
    with contextlib.closing(PostgresConnection(opening.connect(url, timeout_seconds=10))) as opened:
        yield opened


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(url, None, CalendarDays(), StoreLimits(100, 100))
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    "value", [0, -(1 << 62), "", "text", "é\0\ufdd0\ufdd00", 1.5, 1e300, True, None, b'{"a": 1}', [1, "a"]]
)
def test_a_value_comes_back_as_it_was(connection: PostgresConnection, value: Any) -> None:
    if isinstance(value, list):
        assert tuple(value) == connection.execute("SELECT ?::bigint, ?::text", value).get
    elif isinstance(value, bytes):
        assert connection.execute("SELECT CAST(? AS BLOB)", (value,)).get == value
    elif isinstance(value, bool):
        assert connection.execute("SELECT ? = 1", (value,)).get is value
    else:
        kind = {int: "bigint", float: "double precision"}.get(type(value), "text")
        assert connection.execute(f"SELECT ?::{kind}, 1", (value,)).fetchall() == [(value, 1)]


def test_the_server_keeps_only_so_many_statements(
    connection: PostgresConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.postgres.connection.MAX_PREPARED_STATEMENTS", 3)
    answers = [connection.execute(f"SELECT {number}, ?", (number,)) for number in (0, 1, 2, 3, 0, 1, 2, 3)]
    connection.execute("UPDATE pulse SET at = 1")

    assert [rows.fetchall() for rows in answers] == [[(number, number)] for number in (0, 1, 2, 3) * 2]
    assert len(connection.execute("SELECT name FROM pg_prepared_statements WHERE name LIKE 's%'").fetchall()) <= 3


def test_a_forgotten_statement_changes_no_count(
    connection: PostgresConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.postgres.connection.MAX_PREPARED_STATEMENTS", 1)
    connection.execute(ADD_NOTE, ("a", "b", "c"))
    connection.execute("SELECT 2")

    assert connection.changes() == 1


def test_statements_wait_together_for_their_answers(connection: PostgresConnection) -> None:
    first = connection.execute("SELECT 1")
    connection.execute(ADD_NOTE, ("a", "b", "c"))
    last = connection.execute("SELECT count(*) FROM notes")
    assert (last.get, first.get) == (1, 1)


@pytest.mark.parametrize("count", [0, 1, 2, 7, MAX_ROWS_PER_INSERT, 3 * MAX_ROWS_PER_INSERT + 5])
def test_many_rows_arrive_in_order(connection: PostgresConnection, count: int) -> None:
    rows = [("scope", f"{number:04}", str(number)) for number in range(count)]
    connection.executemany(ADD_NOTE, rows)
    assert connection.execute(ALL_NOTES).fetchall() == [row[1:] for row in rows]


def test_the_changes_are_those_of_the_last_statement_that_writes(connection: PostgresConnection) -> None:
    connection.executemany(ADD_NOTE, [("scope", str(number), "") for number in range(3)])
    connection.execute("UPDATE notes SET value = 'new' WHERE name <> '0'")
    rows = connection.execute("SELECT 1")
    assert connection.changes() == 2
    assert connection.total_changes() == 5
    assert rows.get == 1


def test_more_than_the_server_takes_at_once_is_sent(connection: PostgresConnection) -> None:
    large = "x" * (1 << 20)
    for number in range(24):
        connection.execute(ADD_NOTE, ("scope", f"{number:02}", large))
        connection.execute("SELECT value FROM notes WHERE name = ?", (f"{number:02}",))
    assert connection.execute("SELECT count(*) FROM notes WHERE value = ?", (large,)).get == 24


def test_an_error_is_raised_where_the_connection_waits_next(connection: PostgresConnection) -> None:
    connection.execute("BEGIN")
    connection.execute(ADD_NOTE, ("a", "b", "c"))
    connection.execute(ADD_NOTE, ("a", "b", "c"))
    lost = connection.execute("SELECT 1")
    with pytest.raises(errors.UniqueViolation):
        connection.settle()
    assert lost.fetchone() is None
    connection.execute("ROLLBACK")
    assert connection.execute("SELECT count(*) FROM notes").get == 0


def test_what_was_not_prepared_after_an_error_is_prepared_later(connection: PostgresConnection) -> None:
    connection.execute("SELECT 1 / ?::integer", (0,))
    connection.execute(ADD_NOTE, ("a", "b", "c"))
    with pytest.raises(errors.DivisionByZero):
        connection.settle()
    connection.execute(ADD_NOTE, ("a", "b", "c"))
    connection.settle()
    with pytest.raises(errors.UndefinedColumn):
        connection.execute("SELECT missing FROM notes").fetchone()
    with pytest.raises(errors.UndefinedColumn):
        connection.execute("SELECT missing FROM notes").fetchone()
    assert connection.execute(ALL_NOTES).fetchall() == [("b", "c")]


def test_a_lent_connection_is_in_the_same_transaction(connection: PostgresConnection) -> None:
    connection.execute("BEGIN")
    connection.execute(ADD_NOTE, ("a", "b", "c"))
    with connection.lend() as lent:
        assert lent.execute("SELECT count(*) FROM notes").fetchone() == (1,)
        lent.execute("INSERT INTO notes (scope, name, value) VALUES ('a', 'd', 'e')")
    assert connection.execute("SELECT count(*) FROM notes").get == 2
    connection.execute("ROLLBACK")
    assert connection.execute("SELECT count(*) FROM notes").get == 0


def test_a_lent_connection_that_fails_still_runs_statements(connection: PostgresConnection) -> None:
    connection.execute("BEGIN")
    with pytest.raises(errors.UndefinedTable), connection.lend() as lent:
        lent.execute("SELECT * FROM missing")
    connection.execute("ROLLBACK")
    assert connection.execute("SELECT 1").get == 1


async def test_rows_that_are_used_later_outlive_the_operation(database: PostgresDatabase) -> None:
    used: list[int] = []

    def select(tx: Transaction) -> None:
        tx.read_later(tx.execute("SELECT 7"), lambda rows: used.append(rows.get))
        assert tx.execute("SELECT 8").get == 8
        assert not used

    await database.write(select)
    assert used == [7]


def test_a_lost_connection_is_an_error_each_time(connection: PostgresConnection) -> None:
    (pid,) = connection.execute("SELECT pg_backend_pid(), 1").fetchone()[:1]
    postgres.shared_server().execute(f"SELECT pg_terminate_backend({pid}, 10000)")
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1").fetchone()
    assert connection.psycopg.closed


async def test_a_write_that_fails_late_fails_no_other_operation(database: PostgresDatabase) -> None:
    def add(name: str) -> Any:
        def write(tx: Transaction) -> str:
            tx.execute(ADD_NOTE, ("scope", name, ""))
            return name

        return write

    names = ["a", "b", "a", "c"]
    done = await asyncio.gather(*(database.write(add(name)) for name in names), return_exceptions=True)
    assert [type(one) for one in done] == [str, str, errors.UniqueViolation, str]
    assert await database.read(lambda reader: [row[0] for row in reader.execute(ALL_NOTES)]) == ["a", "b", "c"]


async def test_an_operation_that_only_read_fails_alone(database: PostgresDatabase) -> None:
    begun = []

    def add(tx: Transaction) -> None:
        begun.append(tx)
        tx.execute(ADD_NOTE, ("scope", str(len(begun)), ""))

    def refuse(tx: Transaction) -> None:
        tx.execute("SELECT 1")
        raise LookupError

    done = await asyncio.gather(
        database.write(add), database.write(refuse), database.write(add), return_exceptions=True
    )
    assert [type(one) for one in done] == [type(None), LookupError, type(None)]
    assert len(begun) == 2


async def test_a_writer_whose_connection_was_ended_connects_again(database: PostgresDatabase) -> None:
    pid = await database.write(lambda tx: tx.execute("SELECT pg_backend_pid()").get)
    postgres.shared_server().execute(f"SELECT pg_terminate_backend({pid}, 10000)")
    await database.write(lambda tx: tx.execute(ADD_NOTE, ("scope", "a", "")))
    assert await database.write(lambda tx: tx.execute("SELECT count(*) FROM notes").get) == 1
