"""The disk of the server is full: writes are refused until there is room, and what was acknowledged stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import StorageFull
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sql.transaction import Transaction
from harness.postgres_server import PostgresServer
from harness.waiting import PATIENCE
from tests.store.postgres.servers import open_database, prepare, read_facts

#: characters that do not compress
FILLING = "SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 20000)"


@pytest.fixture
def small_disk(server: PostgresServer) -> Iterator[Path]:
    """A disk of 16 MB that the server can write to."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    if shutil.which("mount") is None:
        (pytest.fail if os.environ.get("MOONGATE_TEST_ALL") else pytest.skip)("mount is not installed")
    directory = server.directory / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(directory)]
    tried = subprocess.run(mount, check=False, capture_output=True, text=True, timeout=PATIENCE)
    if tried.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {tried.stderr.strip()}")
    owner = (server.directory / "data").stat()
    os.chown(directory, owner.st_uid, owner.st_gid)
    yield directory
    server.stop()
    subprocess.run(["umount", str(directory)], check=True, timeout=PATIENCE)


async def test_writes_are_refused_while_the_disk_is_full(server: PostgresServer, small_disk: Path) -> None:
    url = prepare(server)
    server.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    name = url.partition("@/")[2].partition("?")[0]
    server.execute("ALTER TABLE moongate.facts ADD COLUMN filling text", name)
    server.execute("ALTER TABLE moongate.facts ALTER COLUMN filling SET STORAGE EXTERNAL", name)
    server.execute("ALTER TABLE moongate.facts SET TABLESPACE small", name)

    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 << 20))

    done: set[str] = set()
    async with open_database(url) as database:
        with pytest.raises(StorageFull, match=r"the database own.* is full: nothing was accepted"):
            await fill(database, done)
        assert done
        assert read_facts(url) == done

        ballast.unlink()
        await database.write(lambda tx: add_large_fact(tx, "after"))

    assert read_facts(url) == {*done, "after"}


async def fill(database: PostgresDatabase, done: set[str]) -> None:
    for number in range(1000):
        name = str(number)
        await database.write(lambda tx, name=name: add_large_fact(tx, name))  # type: ignore[misc]
        done.add(name)


def add_large_fact(tx: Transaction, name: str) -> None:
    tx.execute(f"INSERT INTO facts (name, filling) SELECT ?, ({FILLING})", (name,))
