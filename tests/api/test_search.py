"""`GET /api/search`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.client import ask
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
