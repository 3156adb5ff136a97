"""Fixtures of the PostgreSQL store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.store.postgres.database import PostgresDatabase
from harness.postgres_server import PostgresServer
from tests.store.postgres import servers
from tests.support import postgres


@pytest.fixture
def url() -> str:
    """A database with the schema and a table `facts`, on the server of this process."""
    return servers.prepare(postgres.shared_server())


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    async with servers.open_database(url) as opened:
        yield opened


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A durable server that listens on an address, and that the tests of a module may end and start.

    Start it in the main thread: it ends with the thread that has started it.
    """
    with servers.own_server(durable=True, **servers.make_address()) as own:
        yield own


@pytest.fixture(scope="module")
def strict_server() -> Iterator[PostgresServer]:
    """A server with users who have a password, one of them for TLS only, and a self-signed certificate."""
    with servers.own_server(**servers.make_address()) as own:
        servers.make_strict(own)
        yield own
