"""Search finds messages that were stored before search existed."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from gateway.domain import search
from gateway.domain.page import Page
from gateway.domain.search import SearchQuery
from gateway.store.sql import pieces
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import claim_one, done, finish, spec


async def made_before(migration: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create a store as it was before a migration."""
    known = opening.read_migrations()
    before = known[: next(at for at, one in enumerate(known) if migration in one.name)]
    with monkeypatch.context() as patch:
        patch.setattr(opening, "read_migrations", lambda: before)
        await SqliteStore(path).close()


async def test_transcripts_from_before_are_kept_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "moongate.db"
    await made_before("0007_search", path, monkeypatch)
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO sessions VALUES ('main:x:a', 'main', 'x', 'a', '', NULL, 2, 1, 0, 5, 5)")
    for n, role in ((1, "user"), (2, "assistant")):
        connection.execute("INSERT INTO transcript VALUES ('main:x:a', ?, ?, ?, ?, 'r')", (n, role, f"old fox {n}", n))
    connection.close()

    store = SqliteStore(path)
    found = await store.sessions.search(SearchQuery(terms=search.parse_terms("fox")), Page())
    history = await store.sessions.read_history("main:x:a", 10)
    await store.sessions.delete("main:x:a", force=False)
    gone = await store.sessions.search(SearchQuery(terms=search.parse_terms("fox")), Page())
    await store.close()

    assert [one.snippet for one in found] == ["old fox 2", "old fox 1"]
    assert [line.content for line in history] == ["old fox 1", "old fox 2"]
    assert gone == []


async def found(store: SqliteStore, query: str) -> list[str]:
    return [
        one.snippet
        for one in await store.sessions.search(SearchQuery(terms=search.parse_terms(query)), Page(limit=1000))
    ]


def check(path: Path) -> None:
    """Compare the index with the messages; raises an error if they differ."""
    connection = opening.open_reader(path)
    copy = apsw.Connection(":memory:")
    with copy.backup("main", connection, "main") as backup:
        backup.step()
    opening.add_functions(copy)
    copy.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    copy.close()
    connection.close()


async def test_older_messages_are_reindexed_by_character_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "moongate.db"
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", 0.0)  # one message in each step
    await made_before("search_by_character", path, monkeypatch)
    connection = apsw.Connection(str(path))
    for at, texts in enumerate((["東京に行く", "a fox", "京都と東京"], ["北京", "東京"], ["last"])):
        key = "abc"[at]
        connection.execute(
            f"INSERT INTO sessions VALUES ('main:x:{key}', 'main', 'x', '{key}', '', NULL, 9, {at}, 0, 5, 5)"
        )
        for n, text in enumerate(texts):
            connection.execute(
                "INSERT INTO transcript (session, n, role, content, at, run) VALUES (?, ?, 'user', ?, 1, 'r')",
                (f"main:x:{key}", n, text),
            )
    connection.close()

    store = SqliteStore(path)
    check(path)
    before = await found(store, "東京")
    for _ in range(3):
        await store.sessions.reindex_message_batch()
        check(path)
    between = await found(store, "東京")
    await store.sessions.delete("main:x:b", force=False)
    check(path)
    while await store.sessions.reindex_message_batch():
        check(path)
    await store.sessions.delete("main:x:a", force=False)
    left = [await found(store, "東京"), await found(store, "北京"), await found(store, "last")]
    await store.close()
    check(path)

    assert before == []
    assert between == ["京都と東京", "東京に行く"]
    assert left == [[], [], ["last"]]


async def test_a_message_that_reuses_the_rowid_of_a_deleted_one_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "moongate.db"
    await made_before("search_by_character", path, monkeypatch)
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO sessions VALUES ('main:x:a', 'main', 'x', 'a', '', NULL, 9, 1, 0, 5, 5)")
    connection.execute("INSERT INTO transcript VALUES (1, 'main:x:a', 1, 'user', '東京', 1, 'r')")
    connection.close()

    store = SqliteStore(path)
    await store.sessions.delete("main:x:a", force=False)
    await store.runs.accept(spec("main:test:a", "大阪に行く"))
    await finish(store, await claim_one(store), done("はい"))
    check(path)
    while await store.sessions.reindex_message_batch():
        pass
    again = await found(store, "大阪")
    await store.close()
    check(path)

    assert again == ["大阪に行く"]
