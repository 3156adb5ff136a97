"""The backup of docs/operations.md ends while the gateway works, and is a whole store."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from pathlib import Path

from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import claim_one, done, finish, spec

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


async def test_the_documented_backup_copies_one_moment_while_work_is_accepted(tmp_path: Path) -> None:
    (statement,) = re.findall(r'sqlite3 ~/.moongate/data/moongate.db "(.*?)"', PAGE.read_text("utf-8"))
    path, copy = tmp_path / "moongate.db", tmp_path / "copy.db"
    store = SqliteStore(path)
    for number in range(50):
        await store.runs.accept(spec(f"main:test:{number}"))
        await finish(store, await claim_one(store), done())

    # Another process, as the shell of SQLite is: it knows none of our functions, and a second library of SQLite in
    # this one would drop the locks of the first.
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute(sys.argv[2])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), statement.replace("copy.db", str(copy))
    )
    backup = asyncio.create_task(process.wait())
    accepted = 0
    while not backup.done() or accepted == 0:
        await store.runs.accept(spec(f"main:new:{accepted}"))
        accepted += 1
    await store.close()

    assert await backup == 0
    with contextlib.closing(opening.open_existing(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        runs, tallied = connection.execute("SELECT count(*), (SELECT sum(n) FROM tally) FROM runs").fetchone()
    assert runs == tallied
    assert 50 <= runs <= 50 + accepted
