"""A statement whose rows may be large together is read row by row, as far as it is asked for."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from gateway.domain.times import wall_clock
from gateway.store.postgres import opening
from gateway.store.postgres.connection import PostgresConnection
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sql.transaction import Transaction
from harness.waiting import PATIENCE
from tests.support import postgres

MEGABYTE = 1 << 20
#: reads the history of a session, at most so many bytes, and prints how much memory that took, in kilobytes
READ_HISTORY = """
import asyncio, resource, sys
from gateway.store.postgres.store import PostgresStore

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def main():
    store = PostgresStore(sys.argv[1])
    await store.sessions.read_history("none", 1)
    before = peak()
    history = await store.sessions.read_history("main:test:a", 500, None, 8 << 20)
    print(len(history), peak() - before)
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
def connection(url: str) -> Iterator[PostgresConnection]:
    with contextlib.closing(opening.connect(url, timeout_seconds=60)) as made:
        made.execute("CREATE TABLE large AS SELECT n, repeat('x', 1 << 20) AS said FROM generate_series(1, 200) AS n")
        yield PostgresConnection(made)


def test_a_long_history_is_read_within_its_limit() -> None:
    url = postgres.shared_server().create_database("history")
    opening.prepare_database(url, wall_clock)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO moongate.sessions (key, agent, channel, chat, last_n, touched, after_run, created, updated)"
            " VALUES ('main:test:a', 'main', 'test', 'a', 500, 1, 0, 0, 0)"
        )
        connection.execute(
            "INSERT INTO moongate.transcript (session, n, role, content, at, run)"
            " SELECT 'main:test:a', n, 'user', repeat('x', 1 << 20), 0, 'r' FROM generate_series(1, 500) AS n"
        )

    read = subprocess.run(
        [sys.executable, "-c", READ_HISTORY, url], capture_output=True, text=True, timeout=PATIENCE, check=True
    )

    messages, kilobytes = map(int, read.stdout.split())
    assert 8 <= messages <= 10
    assert kilobytes < 60 * 1024


def test_rows_that_nobody_asks_for_are_not_sent(connection: PostgresConnection) -> None:
    rows = connection.stream("SELECT n, said FROM large ORDER BY n")

    assert next(rows) == (1, "x" * MEGABYTE)
    rows.close()

    assert connection.execute("SELECT 1").get == 1


def test_another_statement_leaves_the_rows_whole(connection: PostgresConnection) -> None:
    rows = connection.stream("SELECT n FROM large ORDER BY n")
    assert next(rows) == (1,)

    assert connection.execute("SELECT count(*) FROM large").get == 200

    assert [n for (n,) in rows] == list(range(2, 201))


def test_a_second_stream_leaves_the_first_whole(connection: PostgresConnection) -> None:
    first = connection.stream("SELECT n FROM large ORDER BY n")
    second = connection.stream("SELECT n FROM large ORDER BY n DESC")

    assert next(second) == (200,)
    assert len(first.fetchall()) == 200
    assert len(second.fetchall()) == 199


def test_streamed_rows_are_read_like_others(connection: PostgresConnection) -> None:
    assert connection.stream("SELECT n FROM large WHERE n = ?", (7,)).get == 7
    assert connection.stream("SELECT n, n FROM large WHERE n = ?", (7,)).get == (7, 7)
    assert connection.stream("SELECT n FROM large WHERE n = ?", (0,)).get is None
    assert connection.stream("SELECT n FROM large WHERE n = ?", (0,)).fetchall() == []


def test_a_statement_that_fails_says_so(connection: PostgresConnection) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.stream("SELECT * FROM nowhere").fetchall()

    assert connection.execute("SELECT 1").get == 1


async def test_a_transaction_goes_on_after_rows_that_were_not_all_read(database: PostgresDatabase, url: str) -> None:
    def write(tx: Transaction) -> None:
        rows = tx.stream("SELECT n FROM generate_series(1, 1000) AS n")
        assert next(rows) == (1,)
        rows.close()
        tx.execute("INSERT INTO facts (name) VALUES ('a')")

    await database.write(write)

    assert await database.read(lambda reader: reader.execute("SELECT count(*) FROM facts").get) == 1


async def test_a_read_goes_on_after_rows_that_were_not_all_read(database: PostgresDatabase) -> None:
    first = await database.read(lambda reader: next(reader.stream("SELECT n FROM generate_series(1, 1000000) AS n")))

    assert first == (1,)
    assert await database.read(lambda reader: reader.execute("SELECT 1").get) == 1
