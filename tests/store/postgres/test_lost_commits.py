"""A commit whose answer is lost: the write is reported as done exactly if it is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from gateway.errors import Unavailable
from gateway.store.postgres import database as databases
from gateway.store.postgres.store import PostgresStore
from gateway.store.sql.transaction import Transaction
from harness.postgres_server import PostgresServer
from tests.contracts.stores import ALL, PAGE, spec
from tests.store.postgres.servers import (
    CutProxy,
    add_fact,
    cut_proxy,
    open_database,
    prepare,
    read_facts,
    through,
    until_written,
)


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[CutProxy]:
    with cut_proxy(server.port) as made:
        yield made


@pytest.fixture
def url(server: PostgresServer) -> str:
    return prepare(server)


@pytest.fixture
async def database(url: str, proxy: CutProxy) -> AsyncIterator[databases.PostgresDatabase]:
    async with open_database(through(proxy.port, url)) as opened:
        yield opened


async def test_a_commit_that_was_made_is_reported_as_done(
    database: databases.PostgresDatabase, proxy: CutProxy, url: str
) -> None:
    proxy.cut_after = b"COMMIT\0"

    await database.write(lambda tx: add_fact(tx, "a"))

    assert read_facts(url) == {"a"}
    assert proxy.cut_after is None


async def test_a_commit_that_was_not_made_is_reported_as_failed(
    database: databases.PostgresDatabase, proxy: CutProxy, url: str
) -> None:
    proxy.cut_before = b"COMMIT\0"

    with pytest.raises(Unavailable):
        await database.write(lambda tx: add_fact(tx, "a"))

    assert read_facts(url) == set()
    assert proxy.cut_before is None


async def test_the_next_writes_go_on(database: databases.PostgresDatabase, proxy: CutProxy, url: str) -> None:
    for name in ("a", "b", "c"):
        proxy.cut_after = b"COMMIT\0"
        await database.write(lambda tx, name=name: add_fact(tx, name))  # type: ignore[misc]

    assert read_facts(url) == {"a", "b", "c"}


async def test_a_doubt_that_nobody_can_end_is_told(
    database: databases.PostgresDatabase, proxy: CutProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "COMMIT_DOUBT_SECONDS", 0.5)
    proxy.refuses = True
    proxy.cut_after = b"COMMIT\0"

    with pytest.raises(Unavailable, match="whether the write was made is not known"):
        await database.write(lambda tx: add_fact(tx, "a"))

    proxy.refuses = False
    assert read_facts(url) == {"a"}
    await until_written(database, "b")


async def test_a_run_whose_commit_was_lost_is_accepted_once(url: str, proxy: CutProxy) -> None:
    store = PostgresStore(through(proxy.port, url))
    try:
        proxy.cut_after = b"COMMIT\0"
        accepted = await store.runs.accept(spec())

        assert (await store.runs.get(accepted.run.id)).id == accepted.run.id
        assert len(await store.runs.list(ALL, PAGE)) == 1
    finally:
        await store.close()


async def test_a_commit_that_a_new_primary_does_not_have_is_not_reported_as_done(
    url: str, proxy: CutProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that has taken over without the commit gives its number to another transaction."""
    monkeypatch.setattr(databases, "_READ_COMMIT_STATUS", "SELECT 'committed' WHERE ?::text <> ''")
    store = PostgresStore(through(proxy.port, url))
    try:
        proxy.cut_before = b"COMMIT\0"
        with pytest.raises(Unavailable):
            await store.runs.accept(spec())
    finally:
        await store.close()


async def test_a_number_that_nobody_knows_is_not_committed(
    database: databases.PostgresDatabase, proxy: CutProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        databases, "_READ_BEGINNING", databases._READ_BEGINNING.replace("pg_current_xact_id()::text", "'99999999'")
    )
    proxy.cut_before = b"COMMIT\0"

    with pytest.raises(Unavailable):
        await database.write(lambda tx: add_fact(tx, "a"))


async def test_a_transaction_with_a_hidden_error_is_not_reported_as_done(
    database: databases.PostgresDatabase, url: str
) -> None:
    """The server answers COMMIT with ROLLBACK after an error that an operation has hidden."""

    def hide_error(tx: Transaction) -> None:
        with contextlib.suppress(psycopg.Error):
            tx.execute("SELECT * FROM nowhere").fetchall()

    with pytest.raises(psycopg.errors.InFailedSqlTransaction, match="had failed"):
        await database.write(hide_error)
    await database.write(lambda tx: add_fact(tx, "a"))
    assert read_facts(url) == {"a"}
