"""`GET /api/search`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.api.routes import health
from gateway.domain.search import SearchHit
from gateway.store.sql import database
from gateway.store.sql.readers import TimeLimit
from gateway.store.sql.transaction import Reader
from gateway.store.sqlite.database import SqliteDatabase
from gateway.store.sqlite.dialect import SQLITE
from harness.waiting import PATIENCE, until
from tests.api.client import ask, done, submit
from tests.support.inprocess import Serving, serving

FOUND = {"session", "agentId", "role", "at", "run_id", "snippet", "matches"}


async def say(served: Serving, text: str, session: str = "s") -> None:
    assert (await ask(served, "POST", "/api/agent", {"message": text, "session": session})).status == 200


async def test_what_was_said_is_found_at_once(moongate: Serving) -> None:
    await say(moongate, "the release notes")
    answer = await ask(moongate, "GET", "/api/search?q=release")

    assert (answer.status, answer.body["next_cursor"]) == (200, None)
    assert [(one["role"], one["snippet"]) for one in answer.body["results"]] == [
        ("assistant", "echo: the release notes"),
        ("user", "the release notes"),
    ]
    assert set(answer.body["results"][0]) == FOUND


async def test_a_search_is_narrowed_and_paged(moongate: Serving) -> None:
    await say(moongate, "fox", "one")
    await say(moongate, "fox", "two")
    first = await ask(moongate, "GET", "/api/search?q=fox&limit=3")
    rest = await ask(moongate, "GET", f"/api/search?q=fox&limit=3&cursor={first.body['next_cursor']}")
    one = await ask(moongate, "GET", "/api/search?q=fox&session=one&agent=main")
    gone = await ask(moongate, "GET", "/api/search?q=fox&agent=no-more")

    assert [len(answer.body["results"]) for answer in (first, rest, one, gone)] == [3, 1, 2, 0]
    assert {found["session"] for found in one.body["results"]} == {"main:api:one"}


@pytest.mark.parametrize("query", ["", "?q=", "?q=-x", "?q=%00", "?limit=3", "?q=x&sort=y", "?q=" + "x" * 501])
async def test_a_query_without_a_word_is_refused(moongate: Serving, query: str) -> None:
    answer = await ask(moongate, "GET", f"/api/search{query}")

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


async def test_an_unknown_session_is_said_to_be_so(moongate: Serving) -> None:
    answer = await ask(moongate, "GET", "/api/search?q=x&session=nowhere")

    assert (answer.status, answer.code) == (404, "SESSION_NOT_FOUND")


async def test_what_was_said_is_found_after_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path / "home") as served:
        await say(served, "the fox")
    async with serving(tmp_path / "home") as served:
        assert len((await ask(served, "GET", "/api/search?q=fox")).body["results"]) == 2


def count_slowly(reader: Reader, *_: object) -> list[SearchHit]:
    """Keep SQLite busy for minutes."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1 << 40) SELECT count(*) FROM n"
    reader.execute(endless).fetchall()
    return []


async def test_searches_that_take_long_keep_nobody_else_waiting(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteDatabase, "dialect", SQLITE._replace(search_messages=count_slowly))
    monkeypatch.setattr(database, "SEARCH_TIMEOUT_SECONDS", PATIENCE)
    task = await submit(moongate, "hi")
    bombs = [asyncio.create_task(ask(moongate, "GET", "/api/search?q=hi")) for _ in range(5)]
    await until(lambda: moongate.engine._store._database._slow_reader._limits, "a search is at work")

    answers = [await ask(moongate, "GET", path) for path in ("/health", "/metrics", "/api/tasks")]
    ended = await done(moongate, task["id"])
    busy = [bomb for bomb in bombs if not bomb.done()]
    for bomb in bombs:
        bomb.cancel()

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert (ended["status"], len(busy)) == ("succeeded", 5)


async def test_a_search_whose_client_goes_away_ends(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = moongate.engine._store._database._slow_reader._limits
    with monkeypatch.context() as patch:
        patch.setattr(SqliteDatabase, "dialect", SQLITE._replace(search_messages=count_slowly))
        patch.setattr(database, "SEARCH_TIMEOUT_SECONDS", PATIENCE)
        asking = asyncio.create_task(ask(moongate, "GET", "/api/search?q=hi"))
        await until(lambda: any(limit.is_started for limit in limits), "it searches")
        asking.cancel()
        await until(lambda: not limits, "nobody waits for it")

    assert (await ask(moongate, "GET", "/api/search?q=hi")).status == 200


async def test_a_search_that_takes_too_long_says_so(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteDatabase, "dialect", SQLITE._replace(search_messages=count_slowly))
    monkeypatch.setattr(database, "SEARCH_TIMEOUT_SECONDS", 1.0)

    answer = await ask(moongate, "GET", "/api/search?q=hi")

    assert (answer.status, answer.code) == (504, "TIMEOUT")
    assert "took longer than 1 s" in answer.message


async def test_a_search_has_a_limit_for_its_rows_too(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    await done(moongate, (await submit(moongate, "hi"))["id"])
    monkeypatch.setattr(TimeLimit, "is_reached", lambda limit: limit.is_started)

    assert (await ask(moongate, "GET", "/api/search?q=hi")).status == 504


async def test_health_does_not_wait_for_readers(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moongate.engine.run_lists, "count_background_runs", asyncio.Event().wait)
    monkeypatch.setattr(health, "COUNTING_TIMEOUT_SECONDS", 0.05)

    answer = await ask(moongate, "GET", "/health")

    assert (answer.status, answer.body["tasks"]) == (200, None)
