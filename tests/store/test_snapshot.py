"""A copy of the database ends while the gateway works, and is a whole store."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigError, Unavailable
from gateway.store.sqlite import copies, opening, snapshot
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import claim_one, done, finish, spec

#: copies a database in another process: a second library of SQLite in this one would drop the locks of the first
PROGRAM = """
import sys
from pathlib import Path
from gateway.store.sqlite import snapshot
snapshot.copy_database(Path(sys.argv[1]), Path(sys.argv[2]), lambda: None)
"""


async def test_it_is_the_state_of_one_moment_while_work_is_accepted(tmp_path: Path) -> None:
    path, copy = tmp_path / "moongate.db", tmp_path / "copy.db"
    store = SqliteStore(path)
    for number in range(50):
        await store.runs.accept(spec(f"main:test:{number}"))
        await finish(store, await claim_one(store), done())

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, str(path), str(copy))
    copying = asyncio.create_task(process.wait())
    accepted = 0
    while not copying.done() or accepted == 0:
        await store.runs.accept(spec(f"main:new:{accepted}"))
        accepted += 1
    await store.close()

    assert await copying == 0
    assert snapshot.check_integrity(copy) is None
    with contextlib.closing(opening.open_existing(copy)) as connection:
        runs, tallied = connection.execute("SELECT count(*), (SELECT sum(n) FROM tally) FROM runs").fetchone()
    assert runs == tallied
    assert 50 <= runs <= 50 + accepted


async def test_a_copy_can_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_STEPS_PER_CALL", 100)
    await SqliteStore(tmp_path / "moongate.db").close()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        snapshot.copy_database(tmp_path / "moongate.db", tmp_path / "copy.db", stop)


async def test_a_damaged_database_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "moongate.db"
    await SqliteStore(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes([255]) * (len(content) - 4096))

    with pytest.raises(ConfigError, match="damaged"):
        snapshot.copy_database(path, tmp_path / "copy.db", lambda: None)
    assert snapshot.check_integrity(path) is not None


def test_a_file_that_only_looks_like_a_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"SQLite format 3\0" + bytes(100))

    assert snapshot.is_database(tmp_path / "other")
    assert not snapshot.is_database(tmp_path / "none")
    with pytest.raises(Unavailable, match="cannot be copied"):
        snapshot.copy_foreign_database(tmp_path / "other", tmp_path / "copy")
