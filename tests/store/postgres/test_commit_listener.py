"""A process hears of what the others commit, and not of what it commits itself."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import AsyncIterator

import psycopg
import pytest

from gateway.domain.times import wall_clock
from gateway.store.postgres.commit_listener import COMMIT_CHANNEL, CommitListener
from gateway.store.postgres.database import PostgresDatabase
from harness.postgres_server import PostgresServer
from harness.waiting import until
from tests.store.postgres.servers import add_fact, open_database, prepare, until_written


@pytest.fixture
async def other(url: str) -> AsyncIterator[PostgresDatabase]:
    async with open_database(url) as opened:
        yield opened


async def wait_until_it_listens(database: PostgresDatabase, other: PostgresDatabase) -> int:
    """Return the count after a commit of another one has been heard."""
    number = 0
    before = await database.count_external_commits()
    while await database.count_external_commits() < before + 2:
        number += 1
        await until_written(other, f"listen {number} {before}")
    await until_counted(database)
    return await database.count_external_commits()


async def until_counted(database: PostgresDatabase) -> None:
    """Wait until what was committed so far has been counted: the server tells it in order."""
    database._commits.lag = None
    with contextlib.closing(psycopg.connect(database._url, autocommit=True)) as last:
        # as if committed in 1970: the lag of no other is so long
        last.execute("SELECT pg_notify(%s, 'marker 0')", [COMMIT_CHANNEL])
    await until(lambda: (database._commits.lag or 0) > 10**12, "the last one is counted")


async def test_commits_of_others_are_counted(database: PostgresDatabase, other: PostgresDatabase) -> None:
    before = await wait_until_it_listens(database, other)

    await other.write(lambda tx: add_fact(tx, "a"))

    await until(lambda: database._commits.count > before, "it is counted")


async def test_own_commits_are_not_counted(database: PostgresDatabase, other: PostgresDatabase) -> None:
    before = await wait_until_it_listens(database, other)

    for number in range(20):
        await database.write(lambda tx, number=number: add_fact(tx, f"own {number}"))  # type: ignore[misc]
    await other.write(lambda tx: add_fact(tx, "a"))
    await until(lambda: database._commits.count > before, "that of the other one is counted")

    assert database._commits.count == before + 1


async def test_a_transaction_that_writes_nothing_is_not_counted(
    database: PostgresDatabase, other: PostgresDatabase
) -> None:
    before = await wait_until_it_listens(database, other)

    await other.write(lambda tx: tx.execute("SELECT 1").get)
    await other.write(lambda tx: add_fact(tx, "a"))
    await until(lambda: database._commits.count > before, "the second one is counted")

    assert database._commits.count == before + 1


async def test_commits_are_heard_after_a_restart_of_the_server(server: PostgresServer) -> None:
    url = prepare(server)
    async with open_database(url) as database, open_database(url) as other:
        before = await wait_until_it_listens(database, other)

        server.stop()
        server.start()

        await until(lambda: database._commits.count > before, "the break is counted: commits may have been missed")
        listening = await wait_until_it_listens(database, other)
        await until_written(other, "after")
        await until(lambda: database._commits.count > listening, "it hears again")


async def test_a_listener_is_told_on_each_change(url: str, other: PostgresDatabase) -> None:
    told: list[int] = []
    listener = CommitListener(url, "me", wall_clock)
    listener.on_commit = lambda: told.append(listener.count)
    try:
        await until(lambda: listener.count, "it listens")
        before = len(told)
        await other.write(lambda tx: add_fact(tx, "a"))
        await until(lambda: len(told) > before, "it is told")
    finally:
        listener.close()


async def test_many_open_files_do_no_harm(url: str, other: PostgresDatabase) -> None:
    """select() knows descriptors below 1024 only."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 2000:
        pytest.skip("this account may not open 2000 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 2000), limits[1]))
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        listener = CommitListener(url, "me", wall_clock)
        try:
            await until(lambda: listener.count, "it listens")
            before = listener.count
            await other.write(lambda tx: add_fact(tx, "a"))
            await until(lambda: listener.count > before, "it hears")
        finally:
            listener.close()
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
