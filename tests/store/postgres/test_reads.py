"""A read has an end: when its time is over, when its caller has gone away, and when the store closes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psycopg
import pytest

from gateway.errors import TimedOut, Unavailable
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sql import database as databases
from gateway.store.sql.transaction import Reader
from harness.postgres_server import PostgresServer
from harness.waiting import PATIENCE, until
from tests.store.postgres.servers import (
    count_facts,
    cut_proxy,
    open_database,
    prepare,
    through,
    until_read,
)

#: seconds of a read that has to be ended
TOO_LONG = 600


def sleep_long(reader: Reader) -> None:
    reader.execute(f"SELECT pg_sleep({TOO_LONG})").fetchall()


def repeat(reader: Reader) -> None:
    """Run many short statements: none of them takes long."""
    until_ = time.monotonic() + TOO_LONG
    while time.monotonic() < until_:
        reader.execute("SELECT pg_sleep(0.01)").fetchall()


def is_reading(url: str) -> bool:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%pg_sleep%%' AND state = 'active'"
            " AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        return found.fetchone() is not None


@pytest.mark.parametrize("read", [sleep_long, repeat])
async def test_a_read_that_takes_too_long_is_ended(
    database: PostgresDatabase, url: str, monkeypatch: pytest.MonkeyPatch, read: Callable[[Reader], None]
) -> None:
    monkeypatch.setattr(databases, "READ_TIMEOUT_SECONDS", 0.3)

    with pytest.raises(TimedOut, match=r"took longer than 0\.3 s"):
        await database.read(read)

    assert not is_reading(url)
    assert await count_facts(database) == 0


@pytest.mark.parametrize("read", [sleep_long, repeat])
async def test_a_read_whose_caller_goes_away_ends(
    database: PostgresDatabase, url: str, read: Callable[[Reader], None]
) -> None:
    reading = asyncio.create_task(database.read(read))
    await until(lambda: is_reading(url), "it reads")

    reading.cancel()

    await until(lambda: not is_reading(url), "it has ended")
    for _ in range(databases.READER_CONNECTIONS):
        assert await count_facts(database) == 0


@pytest.mark.parametrize("read", [sleep_long, repeat])
async def test_closing_ends_a_read(database: PostgresDatabase, url: str, read: Callable[[Reader], None]) -> None:
    reading = asyncio.create_task(database.read(read))
    await until(lambda: is_reading(url), "it reads")

    async with asyncio.timeout(PATIENCE):
        await database.close()

    with pytest.raises(Unavailable, match="stopping"):
        await reading


async def test_a_read_that_an_administrator_ends_is_told(database: PostgresDatabase, url: str) -> None:
    reading = asyncio.create_task(database.read(sleep_long))
    await until(lambda: is_reading(url), "it reads")

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%'")

    with pytest.raises(Unavailable, match="user request"):
        await reading


async def test_a_read_of_a_silent_server_is_ended(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "READ_TIMEOUT_SECONDS", 0.3)
    url = prepare(server)
    with cut_proxy(server.port) as proxy:
        async with open_database(through(proxy.port, url)) as database:
            await count_facts(database)

            proxy.flowing.clear()
            with pytest.raises(TimedOut):
                async with asyncio.timeout(PATIENCE):
                    await count_facts(database)

            proxy.cut()
            proxy.flowing.set()
            await until_read(database)


async def test_a_read_cannot_write(database: PostgresDatabase) -> None:
    with pytest.raises(Unavailable, match="read-only"):
        await database.read(lambda reader: reader.execute("INSERT INTO facts (name) VALUES ('a')").fetchall())


async def test_a_slow_write_is_told(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="statement timeout"):
        await database.write(lambda tx: tx.execute("SET LOCAL statement_timeout = 100").close() or sleep_long(tx))

    await database.write(lambda tx: tx.execute("INSERT INTO facts (name) VALUES ('a')"))
