"""Reads and their connections: an error in one read changes nothing for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from gateway.errors import TimedOut, Unavailable
from gateway.store.sql import database as module
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sqlite.database import SqliteDatabase
from gateway.store.sqlite.opening import READER_CACHE_KIBIBYTES
from harness.waiting import PATIENCE, until
from tests.store.databases import open_database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with open_database(tmp_path) as opened:
        yield opened


def count_notes(reader: Reader) -> int:
    return int(reader.execute("SELECT count(*) FROM notes").get)


def add_note(name: str) -> Callable[[Transaction], object]:
    return lambda tx: tx.execute("INSERT INTO notes (scope, name, value) VALUES ('s', ?, '')", (name,)).get


def break_off(reader: Reader) -> None:
    """Fail after the first of several rows, with the cursor in a local variable."""
    rows = reader.execute("SELECT name FROM notes")
    next(iter(rows))
    raise LookupError("as a query with a bug")


async def test_a_reader_sees_new_rows_after_an_error_in_a_read(database: SqliteDatabase) -> None:
    for name in ("a", "b"):
        await database.write(add_note(name))
    errors = []
    for _ in range(20):  # each connection has had errors, whose tracebacks are kept
        with pytest.raises(LookupError) as caught:
            await database.read(break_off)
        errors.append(caught.value)

    await database.write(add_note("c"))

    assert [await database.read(count_notes) for _ in range(20)] == [3] * 20


async def test_the_writer_works_on_the_newest_state_after_an_error_in_an_operation(tmp_path: Path) -> None:
    async with open_database(tmp_path) as ours, open_database(tmp_path) as theirs:
        for name in ("a", "b"):
            await ours.write(add_note(name))
        with pytest.raises(LookupError) as caught:
            await ours.write(break_off)

        await theirs.write(add_note("c"))
        await ours.write(add_note("d"))

        assert await ours.write(count_notes) == 4
        assert caught.value.__traceback__ is not None, "it keeps the frame with the cursor"


async def test_a_statement_is_reset_when_its_operation_ends(database: SqliteDatabase) -> None:
    for name in ("a", "b"):
        await database.write(add_note(name))

    def leave_open(tx: Transaction) -> apsw.Cursor:
        rows = tx.execute("SELECT name FROM notes")
        next(rows)
        return rows

    left = await database.write(leave_open)

    with pytest.raises(apsw.CursorClosedError):
        next(left)


def count_slowly(reader: Reader) -> int:
    """Count to a number that takes SQLite minutes."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1 << 40) SELECT count(*) FROM n"
    return int(reader.execute(endless).get)


async def test_a_reader_keeps_only_some_pages_of_a_large_table_in_memory(database: SqliteDatabase) -> None:
    value, count = "x" * 1000, 5 * READER_CACHE_KIBIBYTES
    await database.write(
        lambda tx: (
            tx.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                " INSERT INTO notes (scope, name, value) SELECT 's', i, ? FROM n",
                (count, value),
            ).get
        )
    )

    def read_all(reader: Reader) -> int:
        return int(reader.execute("SELECT sum(length(value)) FROM notes").get)

    size = await database.read(read_all)
    opened = [one.connection for one in database._readers._connections]
    [reader] = [one for one in opened if one.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)[0]]
    kept, _ = reader.status(apsw.SQLITE_DBSTATUS_CACHE_USED)

    assert size > 4 * READER_CACHE_KIBIBYTES * 1024
    assert READER_CACHE_KIBIBYTES * 1024 / 2 < kept < READER_CACHE_KIBIBYTES * 1024 * 1.3  # SQLite adds what it needs


async def test_a_read_that_takes_too_long_is_ended(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT_SECONDS", 0.05)

    with pytest.raises(TimedOut, match="longer than"):
        await database.read(count_slowly)

    assert await database.read(count_notes) == 0


async def test_a_read_whose_caller_goes_away_ends_and_frees_its_thread(database: SqliteDatabase) -> None:
    reading = [asyncio.create_task(database.read(count_slowly)) for _ in range(module.READER_CONNECTIONS * 2)]
    await until(lambda: sum(limit.is_started for limit in database._readers._limits) == 2, "both threads read")
    for one in reading:
        one.cancel()

    async with asyncio.timeout(PATIENCE):
        assert await database.read(count_notes) == 0


async def test_closing_ends_the_reads_under_way(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database:
        reading = asyncio.create_task(database.read(count_slowly))
        await until(lambda: any(limit.is_started for limit in database._readers._limits), "it reads")
        await database.close()

    with pytest.raises(Unavailable, match="stopping"):
        await reading
