"""Every store keeps the contract: search finds messages as soon as they are stored, until they are deleted."""

from __future__ import annotations

import pytest

from gateway.domain import search
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.search import SearchHit, SearchQuery
from tests.contracts.stores import claim_one, done, finish, spec

EVERYTHING = Page(limit=1000)


async def say(store: Store, input_: str, answer: str, session: str = "main:test:a") -> None:
    await store.runs.accept(spec(session, input_))
    await finish(store, await claim_one(store), done(answer))


async def look(store: Store, query: str, page: Page = EVERYTHING, **where: str) -> list[SearchHit]:
    return list(await store.sessions.search(SearchQuery(terms=search.parse_terms(query), **where), page))


async def snippets(store: Store, query: str, **where: str) -> list[str]:
    return [found.snippet for found in await look(store, query, **where)]


async def test_prompts_and_answers_are_found_newest_first(store: Store) -> None:
    await say(store, "Where is the red fox?", "The fox is in the garden.")
    await say(store, "And the dog?", "Asleep.")

    question, answer = reversed(await look(store, "fox"))

    assert (question.role, question.snippet, question.matches) == ("user", "Where is the red fox?", ("fox",))
    assert (answer.role, answer.snippet, answer.run) == ("assistant", "The fox is in the garden.", question.run)
    assert (answer.session, answer.agent) == ("main:test:a", "main")


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("quick brown", True),
        ("brown QUICK", True),
        ('"quick brown"', True),
        ('"brown quick"', False),
        ("quick -slow", True),
        ("quick -brown", False),
        ("quick -red -brown", False),
        ('quick -"brown fox"', False),
        ("bro*", True),
        ("bro", True),
        ("br", False),
        ('"bro"', False),
        ("quick -bro", True),
        ("cafe", True),
        ("café", True),
        ("quick AND brown", False),
        ("quick OR slow", False),
        ("NOT", False),
        ("content:quick", False),
        ("over-hasty", True),
        ("quick !!! ***", True),
        ('"quick brown', True),
    ],
)
async def test_a_query_matches_by_the_documented_rules(store: Store, query: str, fits: bool) -> None:
    await say(store, "The quick brown fox, in no way over-hasty, at the Café", "ok")

    assert bool(await look(store, query)) is fits


@pytest.mark.parametrize(
    ("text", "query", "snippet", "matches"),
    [
        ("昨日、東京に行きました。", "東京", "昨日、東京に行きました。", ("東京",)),
        ("昨日、東京に行きました。", "京東", None, ()),
        ("昨日、東京に行きました。", "行き 東京", "昨日、東京に行きました。", ("東京", "行き")),
        ("カタカナのテスト", "テスト", "カタカナのテスト", ("テスト",)),
        ("我们在北京开会", "北京 -上海", "我们在北京开会", ("北京",)),
        ("我们在北京开会", "开会 -北京", None, ()),
        ("서울에서 만났습니다", "서울", "서울에서 만났습니다", ("서울",)),
        ("Moongateは速い", "moon 速い", "Moongateは速い", ("Moongate", "速い")),
        ("see GitHubのissue", '"のissue"', "see GitHubのissue", ("のissue",)),
    ],
)
async def test_scripts_without_spaces_are_searched_by_their_characters(
    store: Store, text: str, query: str, snippet: str | None, matches: tuple[str, ...]
) -> None:
    await say(store, text, "ok")

    found = await look(store, query)
    assert [(one.snippet, one.matches) for one in found] == ([] if snippet is None else [(snippet, matches)])


async def test_deleted_text_is_no_longer_found_by_its_characters(store: Store) -> None:
    await say(store, "東京に行きました", "はい")
    await store.sessions.delete("main:test:a", force=False)

    assert await snippets(store, "東京") == []
    await say(store, "大阪に行きました", "はい")
    assert (await snippets(store, "東京"), await snippets(store, "大阪")) == ([], ["大阪に行きました"])


async def test_a_search_can_be_limited_to_a_session_or_an_agent(store: Store) -> None:
    await say(store, "fox one", "x", "main:test:a")
    await say(store, "fox two", "x", "main:test:b")
    await say(store, "fox three", "x", "other:test:a")

    assert await snippets(store, "fox", session="main:test:b") == ["fox two"]
    assert await snippets(store, "fox", agent="other") == ["fox three"]
    assert await snippets(store, "fox", agent="other", session="main:test:b") == []


async def test_pages_of_a_search_have_no_gaps(store: Store) -> None:
    for number in range(7):
        await say(store, f"fox {number}", "x")

    seen: list[str] = []
    before = None
    while found := await look(store, "fox", Page(limit=3, before=before)):
        seen += [one.snippet for one in found]
        before = found[-1].position

    assert seen == [f"fox {number}" for number in reversed(range(7))]


async def test_deleted_messages_are_no_longer_found(store: Store) -> None:
    await say(store, "a secret fox", "x", "main:test:a")
    await say(store, "another fox", "x", "main:test:b")
    await store.sessions.delete("main:test:a", force=False)

    assert await snippets(store, "fox") == ["another fox"]
    await say(store, "a new fox", "x", "main:test:a")
    assert await snippets(store, "fox") == ["a new fox", "another fox"]


async def test_a_long_message_is_shown_as_a_snippet(store: Store) -> None:
    await say(store, "word " * 500 + "needle " + "word " * 500, "x")

    (found,) = await look(store, "needle")

    assert len(found.snippet) < 300
    assert "needle" in found.snippet
    assert found.snippet.startswith("…")


async def test_a_message_of_megabytes_is_found_by_its_beginning(store: Store) -> None:
    await say(store, "beginning " + "x" * 3_000_000 + " farend", "x")

    assert len(await look(store, "beginning")) == 1
    assert await look(store, "farend") == []
    await store.sessions.delete("main:test:a", force=False)
    assert await look(store, "beginning") == []
