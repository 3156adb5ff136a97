"""The store through pgbouncer in session mode."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from gateway.domain.page import Page
from gateway.domain.search import SearchQuery, SearchTerm
from gateway.errors import Unavailable
from gateway.store.postgres.store import PostgresStore
from harness.postgres_server import PostgresServer
from harness.waiting import PATIENCE, until_sync
from tests.contracts.stores import ALL, LIMITS, PAGE, done, spec
from tests.store.postgres.servers import prepare
from tests.support import ports


class Bouncer:
    """A pgbouncer before a server."""

    def __init__(self, directory: Path, server: PostgresServer) -> None:
        self.port = ports.free()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        owner = server.directory.stat()
        directory.chmod(0o755)
        os.chown(directory, owner.st_uid, owner.st_gid)
        self._account: dict[str, Any] = (
            {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        )
        (directory / "users.txt").write_text('"moongate" ""\n')
        (directory / "pgbouncer.ini").write_text(
            f"""
[databases]
* = host={server.directory} port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/users.txt
pool_mode = session
default_pool_size = 40
server_reset_query = DISCARD ALL
"""
        )

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["pgbouncer", "-q", "pgbouncer.ini"], cwd=self._directory, stdout=log, stderr=log, **self._account
            )
        until_sync(self._answers, "pgbouncer answers")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"postgresql://moongate@127.0.0.1:{self.port}/postgres").close()
            return True
        return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE)
            self._process = None


@pytest.fixture
def bouncer(server: PostgresServer) -> Iterator[Bouncer]:
    if shutil.which("pgbouncer") is None:
        assert "MOONGATE_TEST_ALL" not in os.environ, "pgbouncer is missing"
        pytest.skip("pgbouncer is not installed: apt install pgbouncer")
    directory = server.directory / "bouncer"
    directory.mkdir()
    made = Bouncer(directory, server)
    try:
        made.start()
        yield made
    finally:
        made.stop()


async def test_the_store_works_through_pgbouncer_and_outlives_its_restart(
    server: PostgresServer, bouncer: Bouncer
) -> None:
    name = conninfo.conninfo_to_dict(prepare(server))["dbname"]
    store = PostgresStore(f"postgresql://moongate@127.0.0.1:{bouncer.port}/{name}")
    try:
        first = (await store.runs.accept(spec())).run
        (claimed,) = await store.runs.claim("owner", LIMITS)
        await store.runs.finish(claimed.id, claimed.epoch, done("the answer"), [])
        assert (await store.runs.get(first.id)).result == "the answer"
        assert await search(store, "answer") == [first.id]

        bouncer.stop()
        with pytest.raises(Unavailable):
            await store.runs.accept(spec())
        bouncer.start()

        await accept_soon(store)
        (claimed,) = await store.runs.claim("owner", LIMITS)
        await store.runs.finish(claimed.id, claimed.epoch, done(), [])
        assert len(await store.runs.list(ALL, PAGE)) == 2
    finally:
        await store.close()


async def search(store: PostgresStore, word: str) -> list[str]:
    query = SearchQuery(terms=(SearchTerm(word),))
    return [hit.run for hit in await store.sessions.search(query, Page(limit=10))]


async def accept_soon(store: PostgresStore) -> None:
    """Accept a run as soon as the server can be reached again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(Unavailable):
                await store.runs.accept(spec())
                return
            await asyncio.sleep(0.05)
