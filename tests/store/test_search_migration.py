"""What was said before there was a search is found by it."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from gateway.domain import search
from gateway.domain.ports import Page
from gateway.domain.search import Search
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore


async def test_transcripts_from_before_are_kept_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "moongate.db"
    known = opening.migrations()
    before = known[: next(at for at, one in enumerate(known) if "search" in one.name)]
    with monkeypatch.context() as patch:
        patch.setattr(opening, "migrations", lambda: before)
        await SqliteStore(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO sessions VALUES ('main:x:a', 'main', 'x', 'a', '', NULL, 2, 1, 0, 5, 5)")
    for n, role in ((1, "user"), (2, "assistant")):
        connection.execute("INSERT INTO transcript VALUES ('main:x:a', ?, ?, ?, ?, 'r')", (n, role, f"old fox {n}", n))
    connection.close()

    store = SqliteStore(path)
    found = await store.search(Search(terms=search.terms("fox")), Page())
    history = await store.history("main:x:a", 10)
    await store.delete_session("main:x:a", force=False)
    gone = await store.search(Search(terms=search.terms("fox")), Page())
    await store.close()

    assert [one.snippet for one in found] == ["old fox 2", "old fox 1"]
    assert [line.content for line in history] == ["old fox 1", "old fox 2"]
    assert gone == []
