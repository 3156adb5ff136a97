"""The server is restarted, cut off, or silent: the store goes on by itself, and says the truth about each write."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import psycopg
import pytest
from psycopg import conninfo

from gateway.errors import Unavailable
from gateway.store.postgres import opening
from gateway.store.postgres.database import PostgresDatabase
from harness.postgres_server import PostgresServer
from harness.waiting import PATIENCE, until
from tests.store.postgres.servers import (
    add_fact,
    count_facts,
    cut_proxy,
    open_database,
    prepare,
    read_facts,
    through,
    until_read,
    until_written,
)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["orderly", "sudden"])
async def test_a_restart_while_idle_is_not_noticed(server: PostgresServer, how: int) -> None:
    async with open_database(prepare(server)) as database:
        await database.write(lambda tx: add_fact(tx, "before"))
        await count_facts(database)

        server.stop(how)
        server.start()

        assert await count_facts(database) == 1
        await database.write(lambda tx: add_fact(tx, "after"))
        assert await count_facts(database) == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["orderly", "sudden"])
async def test_writes_during_a_restart_are_done_or_refused(server: PostgresServer, how: int) -> None:
    url = prepare(server)
    done: set[str] = set()

    async def write_on(database: PostgresDatabase, writer: int) -> None:
        number = 0
        while not ended.is_set():
            name = f"{writer}.{number}"
            number += 1
            try:
                await database.write(lambda tx, name=name: add_fact(tx, name))  # type: ignore[misc]
                done.add(name)
            except Unavailable:
                await asyncio.sleep(0.01)

    async with open_database(url) as database:
        ended = asyncio.Event()
        writers = [asyncio.create_task(write_on(database, writer)) for writer in range(8)]
        await until(lambda: len(done) > 100, "writes are done")

        server.stop(how)
        server.start()

        before = len(done)
        await until(lambda: len(done) > before + 100, "writes are done again")
        ended.set()
        await asyncio.gather(*writers)

    assert read_facts(url) == done


async def test_a_member_whose_connections_are_cut_goes_on(server: PostgresServer) -> None:
    with cut_proxy(server.port) as proxy:
        url = prepare(server)
        async with open_database(through(proxy.port, url)) as database:
            await database.write(lambda tx: add_fact(tx, "before"))
            await count_facts(database)

            proxy.cut()

            await database.write(lambda tx: add_fact(tx, "after"))
            assert await count_facts(database) == 2


async def test_a_silent_server_is_given_up_in_time(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "WRITE_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(opening, "SILENCE_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(opening, "CONNECT_TIMEOUT_SECONDS", 2)
    with cut_proxy(server.port) as proxy:
        url = prepare(server)
        async with open_database(through(proxy.port, url)) as database:
            await database.write(lambda tx: add_fact(tx, "before"))

            proxy.flowing.clear()
            with pytest.raises(Unavailable, match="cannot be used"):
                async with asyncio.timeout(PATIENCE):
                    await database.write(lambda tx: add_fact(tx, "silence"))

            proxy.cut()
            proxy.flowing.set()
            await until_written(database, "after")
    assert read_facts(url) == {"before", "after"}


async def test_many_callers_do_not_wait_in_line_for_a_server_that_is_away(server: PostgresServer) -> None:
    with cut_proxy(server.port) as proxy:
        async with open_database(through(proxy.port, prepare(server))) as database:
            await count_facts(database)
            proxy.refuses = True
            proxy.cut()

            begun = time.monotonic()
            answers = await asyncio.gather(*(count_facts(database) for _ in range(200)), return_exceptions=True)

            assert {type(answer) for answer in answers} == {Unavailable}
            assert time.monotonic() - begun < PATIENCE
            proxy.refuses = False
            await until_read(database)


async def test_closing_while_the_server_is_away_ends_soon(server: PostgresServer) -> None:
    with cut_proxy(server.port) as proxy:
        async with open_database(through(proxy.port, prepare(server))) as database:
            await database.write(lambda tx: add_fact(tx, "before"))
            proxy.refuses = True
            proxy.cut()
            waiting = [
                asyncio.create_task(database.write(lambda tx, n=n: add_fact(tx, str(n))))  # type: ignore[misc]
                for n in range(2000)
            ]
            await asyncio.sleep(0)

            async with asyncio.timeout(PATIENCE):
                await database.close()

            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(answer) for answer in answers} == {Unavailable}


async def test_a_server_that_has_become_read_only_takes_writes_again_later(server: PostgresServer) -> None:
    url = prepare(server)
    name = conninfo.conninfo_to_dict(url)["dbname"]
    async with open_database(url) as database:
        server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        end_connections(url)
        with pytest.raises(Unavailable, match="is read-only now"):
            await database.write(lambda tx: add_fact(tx, "before"))

        server.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

        await until_written(database, "after")
    assert read_facts(url) == {"after"}


async def test_no_connection_and_no_thread_is_left(server: PostgresServer) -> None:
    url = prepare(server)
    before = set(threading.enumerate())

    async with open_database(url) as database:
        await database.write(lambda tx: add_fact(tx, "a"))
        for _ in range(3):
            end_connections(url)
            await until_written(database, f"after {time.monotonic()}")
            await until_read(database)
        await until(lambda: count_connections(url) <= 5, "no connection that was replaced is left")

    await until(lambda: count_connections(url) == 0, "the server has ended its side")
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert [name for name in left if not name.startswith("asyncio")] == []


def end_connections(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def count_connections(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])
