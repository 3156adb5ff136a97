"""Sessions from before workspaces were recorded keep their directories."""

from __future__ import annotations

import hashlib
from pathlib import Path

import apsw
import pytest

from gateway.store.sqlite.store import SqliteStore
from tests.store.test_search_migration import made_before


async def test_an_older_session_keeps_its_directory_and_takes_it_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "moongate.db"
    await made_before("_workspaces", path, monkeypatch)
    connection = apsw.Connection(str(path))
    connection.execute(
        "INSERT INTO sessions (key, agent, channel, chat, touched, after_run, created, updated)"
        " VALUES ('main:x:a', 'main', 'x', 'a', 1, 0, 5, 5)"
    )
    connection.close()
    old = hashlib.sha256(b"main:x:a").hexdigest()[:32]

    store = SqliteStore(path)
    kept, new = await store.workspaces.open("main:x:a", 1), await store.workspaces.open("main:x:b", 2)
    await store.sessions.delete("main:x:a", force=False)
    released = await store.workspaces.list_released()
    await store.close()

    assert kept == old
    assert new != hashlib.sha256(b"main:x:b").hexdigest()[:32]
    assert {one.name for one in released} == {old, new}, "the second has no session"
