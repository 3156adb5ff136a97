"""Every store keeps the contract: sessions, transcripts, processes and tokens."""

from __future__ import annotations

import pytest

from gateway.domain.agent import SessionMode
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.store import AgentProcess, Store
from gateway.domain.run import AttemptResult, Move, OnInterrupt, Outcome
from gateway.domain.session import Message, Role, SessionKey
from gateway.domain.token import Scope, Token
from gateway.errors import Conflict, SessionNotFound
from gateway.process import identity
from gateway.process.identity import Identity
from tests.contracts.stores import LIMITS, PAGE, START, SteppedClock, Told, claim_one, done, finish, key, running, spec

KEY = SessionKey("main", "test", "a")


async def said(store: Store, name: str = str(KEY)) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in await store.sessions.read_history(name, 100)]


# --- importing --------------------------------------------------------------------------------

TOLD = [
    Message(role=role, content=text, at=at, run="")
    for role, text, at in ((Role.USER, "hello", 1), (Role.ASSISTANT, "hi", 2))
]


async def test_a_session_is_imported_once_with_its_notes_and_messages(store: Store) -> None:
    tried = await store.sessions.import_session(KEY, {"name": "a"}, TOLD, dry_run=True)
    nothing = await store.sessions.find(str(KEY))
    first = await store.sessions.import_session(KEY, {"name": "a"}, TOLD)
    again = await store.sessions.import_session(KEY, {"name": "b"}, TOLD)

    assert (tried, nothing, first, again) == (True, None, True, False)
    assert await said(store) == [("user", "hello"), ("assistant", "hi")]
    assert await store.notes.get("test", "name") == "a"


async def test_an_import_leaves_a_session_that_exists_as_it_is(store: Store) -> None:
    before = await store.sessions.open(KEY)

    assert not await store.sessions.import_session(KEY, {"name": "new"}, TOLD)
    assert (await store.sessions.find(str(KEY)), await said(store)) == (before, [])
    assert await store.notes.get("test", "name") is None


@pytest.mark.parametrize("taken", ["first", "second"])
async def test_an_import_leaves_each_of_its_notes_that_exists_as_it_is(store: Store, taken: str) -> None:
    await store.notes.save("test", {taken: "old"})
    await store.notes.save("elsewhere", {"first": "other", "second": "other"})

    assert not await store.sessions.import_session(KEY, {"first": "new", "second": "new"}, TOLD)
    assert await store.sessions.find(str(KEY)) is None
    assert await store.notes.list("test", "") == {taken: "old"}


async def test_notes_of_another_channel_do_not_prevent_an_import(store: Store) -> None:
    await store.notes.save("elsewhere", {"name": "other"})

    assert await store.sessions.import_session(KEY, {"name": "new"}, TOLD)
    assert await store.notes.get("elsewhere", "name") == "other"


# --- opening ----------------------------------------------------------------------------------


async def test_a_session_is_made_once_and_found_again(store: Store, clock: SteppedClock) -> None:
    made = await store.sessions.open(KEY)
    clock.forward(10)
    again = await store.sessions.open(KEY)

    assert (made.key, made.agent, made.channel, made.chat) == (str(KEY), "main", "test", "a")
    assert (again.created, again.updated, again.message_count, again.active_runs) == (START, START + 10, 0, 0)
    assert await store.sessions.find(str(KEY)) == again
    assert await store.sessions.find("main:test:nobody") is None


async def test_a_message_makes_its_session(store: Store) -> None:
    await store.runs.accept(spec())

    found = await store.sessions.find(str(KEY))

    assert found is not None
    assert (found.active_runs, found.message_count) == (1, 0)


async def test_without_a_chat_the_newest_unused_session_is_taken(store: Store) -> None:
    for chat in ("old", "new"):
        await store.sessions.open(SessionKey("main", "test", chat))
    await store.sessions.open(SessionKey("main", "elsewhere", "newer"))
    await store.sessions.open(SessionKey("other", "test", "newer"))

    assert (await store.sessions.open_empty("main", "test", "fresh")).chat == "new"


async def test_a_session_that_was_used_is_not_taken_for_an_empty_one(store: Store) -> None:
    await store.runs.accept(spec("main:test:waiting"))
    await finish(store, await running(store, session="main:test:answered"))
    cancelled = await store.runs.accept(spec("main:test:cancelled"))
    await store.runs.cancel(cancelled.run.id)

    assert (await store.sessions.open_empty("main", "test", "fresh")).chat == "fresh"


async def test_opening_a_session_is_idempotent_by_its_key(store: Store) -> None:
    one = IdempotencyKey(scope="s", key="open", digest="d")
    first = await store.sessions.open_empty("main", "test", "one", one)
    await store.runs.accept(spec(first.key))
    again = await store.sessions.open_empty("main", "test", "two", one)

    assert again.key == first.key
    with pytest.raises(Conflict):
        await store.sessions.open(KEY, IdempotencyKey(scope="s", key="open", digest="other"))


async def test_an_idempotent_opening_creates_a_deleted_session_again(store: Store) -> None:
    await store.sessions.open(KEY, key())
    await store.sessions.delete(str(KEY), force=False)

    assert (await store.sessions.open(KEY, key())).key == str(KEY)
    assert await store.sessions.find(str(KEY)) is not None


# --- finding and listing ----------------------------------------------------------------------


async def test_the_session_of_a_chat_that_was_used_last_is_the_newest(store: Store) -> None:
    for agent in ("main", "other", "main"):
        await store.sessions.open(SessionKey(agent, "test", "a"))

    newest = await store.sessions.find_newest("a")

    assert newest is not None
    assert newest.agent == "main"
    assert await store.sessions.find_newest("nobody") is None


async def test_sessions_are_listed_by_last_use_in_pages(store: Store) -> None:
    for chat in "abcde":
        await store.sessions.open(SessionKey("main", "test", chat))
    await store.runs.accept(spec("main:test:a"))

    first = await store.sessions.list(Page(limit=3))
    rest = await store.sessions.list(Page(limit=3, before=first[-1].last_use_order))

    assert [session.chat for session in [*first, *rest]] == ["a", "e", "d", "c", "b"]
    assert [session.active_runs for session in first] == [1, 0, 0]


# --- transcripts ------------------------------------------------------------------------------


async def test_an_answer_is_stored_with_its_question(store: Store) -> None:
    run = await running(store, text="What is\n  2+2?")
    await finish(store, run, done("4"))

    session = await store.sessions.find(str(KEY))
    assert session is not None
    assert await said(store) == [("user", "What is\n  2+2?"), ("assistant", "4")]
    assert (session.message_count, session.active_runs, session.title) == (2, 0, "What is 2+2?")
    assert {message.run for message in await store.sessions.read_history(str(KEY), 10)} == {run.id}


async def test_history_gives_the_newest_messages_oldest_first(store: Store) -> None:
    for number in range(4):
        await finish(store, await running(store, text=f"q{number}"), done(f"a{number}"))

    assert [message.content for message in await store.sessions.read_history(str(KEY), 3)] == ["a2", "q3", "a3"]
    assert (await store.sessions.read_history(str(KEY), 1))[0].role is Role.ASSISTANT


async def test_a_failed_run_leaves_its_question(store: Store) -> None:
    await finish(store, await running(store), AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="no"))
    await running(store, text="cut short", on_interrupt=OnInterrupt.FAIL)
    await store.owners.rescue_runs("owner")

    assert await said(store) == [("user", "hello"), ("user", "cut short")]


async def test_a_cancelled_run_leaves_no_messages(store: Store) -> None:
    verdict = AttemptResult(move=Move.CANCEL, outcome=Outcome.CANCELLED_BY_USER, result="half an answ")
    await finish(store, await running(store), verdict)

    assert await said(store) == []


async def test_a_retried_run_is_in_the_transcript_once(store: Store) -> None:
    run = await running(store)
    await store.runs.requeue(run.id, run.epoch, "why")
    await finish(store, await claim_one(store))

    assert await said(store) == [("user", "hello"), ("assistant", "done")]


async def test_a_session_has_its_title_as_soon_as_its_first_message_is_accepted(store: Store) -> None:
    await store.runs.accept(spec(text="  Tidy up\nthe attic  "))
    await store.runs.accept(spec(text="and the cellar"))

    session = await store.sessions.find(str(KEY))
    assert session is not None
    assert (session.title, session.message_count) == ("Tidy up the attic", 0)


async def test_a_long_first_message_makes_a_short_title(store: Store) -> None:
    await finish(store, await running(store, text="word " * 100))

    session = await store.sessions.find(str(KEY))
    assert session is not None
    assert len(session.title) <= 80
    assert session.title.endswith("…")


async def test_the_backends_id_of_a_conversation_is_stored(store: Store) -> None:
    run = await running(store)

    await store.runs.save_backend_ref(run.id, run.epoch, "opencode:ses_1")

    session = await store.sessions.find(str(KEY))
    assert session is not None
    assert session.backend_ref == "opencode:ses_1"


# --- deleting ---------------------------------------------------------------------------------


async def test_a_deleted_session_is_gone_with_its_transcript(store: Store) -> None:
    await finish(store, await running(store))

    stopping = await store.sessions.delete(str(KEY), force=False)

    assert (list(stopping), await store.sessions.find(str(KEY)), await said(store)) == ([], None, [])
    assert (await store.events.read_changes_after(0, 100))[-1].state == "deleted"
    with pytest.raises(SessionNotFound):
        await store.sessions.delete(str(KEY), force=True)


async def test_a_session_in_use_is_not_deleted_unless_forced(store: Store) -> None:
    run = await running(store)
    waiting = (await store.runs.accept(spec(text="waiting"))).run
    with pytest.raises(Conflict):
        await store.sessions.delete(str(KEY), force=False)

    stopping = await store.sessions.delete(str(KEY), force=True)

    assert list(stopping) == [run.id]
    assert (await store.runs.get(run.id)).cancel_requested
    assert (await store.runs.get(waiting.id)).status == "cancelled"
    assert await store.sessions.find(str(KEY)) is None


async def test_a_run_that_ends_after_its_session_was_deleted_writes_no_transcript(store: Store) -> None:
    run = await running(store)
    await store.sessions.delete(str(KEY), force=True)

    await store.runs.save_backend_ref(run.id, run.epoch, "ref")
    await finish(store, run)

    assert await store.sessions.find(str(KEY)) is None
    assert await said(store) == []


async def test_a_run_of_a_deleted_session_writes_nothing_into_a_new_one_of_that_name(store: Store) -> None:
    old = await running(store, text="a secret")
    await store.sessions.delete(str(KEY), force=True)
    await store.runs.accept(spec(text="hello again"))

    await store.runs.save_backend_ref(old.id, old.epoch, "the old conversation")
    await finish(store, old)
    await finish(store, await claim_one(store))

    session = await store.sessions.find(str(KEY))
    assert session is not None
    assert session.backend_ref is None
    assert await said(store) == [("user", "hello again"), ("assistant", "done")]


async def test_runs_outlive_their_session(store: Store) -> None:
    run = await finish(store, await running(store))
    await store.sessions.delete(str(KEY), force=False)

    assert await store.runs.get(run.id) == run


# --- processes and tokens ---------------------------------------------------------------------


async def test_processes_are_listed_by_owner_until_they_are_removed(store: Store) -> None:
    who = identity.own_identity()
    other = Identity(4242, "1", "boot/with a slash")
    await store.owners.record_process(AgentProcess(who=who, owner="me", run="run-1"))
    await store.owners.record_process(AgentProcess(who=other, owner="me", run=None))
    await store.owners.record_process(AgentProcess(who=Identity(7, "7", ""), owner="you", run=None))

    assert {found.who: found.run for found in await store.owners.list_processes("me")} == {who: "run-1", other: None}
    assert sorted(await store.owners.list()) == ["me", "you"]

    await store.owners.forget_process(who)
    assert [found.who for found in await store.owners.list_processes("me")] == [other]
    await store.owners.forget_process(other)
    assert (await store.owners.list_processes("me"), list(await store.owners.list())) == ([], ["you"])


async def test_owners_include_those_of_running_runs(store: Store) -> None:
    run = await running(store)
    with_run = list(await store.owners.list())
    await finish(store, run)

    assert (with_run, list(await store.owners.list())) == (["owner"], [])


async def test_tokens_are_added_listed_and_revoked(store: Store) -> None:
    token = Token(name="ci", hash="h1", scope=Scope.WRITE, expires=START + 1, created=START)
    await store.tokens.add(token)
    await store.tokens.add(Token(name="a", hash="h2", scope=Scope.READ, created=START))

    assert [found.name for found in await store.tokens.list()] == ["a", "ci"]
    assert (await store.tokens.list())[1] == token
    assert await store.tokens.revoke("ci")
    assert not await store.tokens.revoke("ci")


@pytest.mark.parametrize(("name", "hash_"), [("ci", "other"), ("other", "h1")])
async def test_a_tokens_name_and_secret_are_unique(store: Store, name: str, hash_: str) -> None:
    await store.tokens.add(Token(name="ci", hash="h1", scope=Scope.READ, created=START))

    with pytest.raises(Conflict):
        await store.tokens.add(Token(name=name, hash=hash_, scope=Scope.READ, created=START))

    assert len(await store.tokens.list()) == 1


async def test_an_empty_store_returns_empty_lists(store: Store) -> None:
    assert await store.runs.claim("owner", LIMITS) == []
    assert await store.sessions.list(PAGE) == []
    assert await store.sessions.read_history("main:test:nobody", 10) == []


# --- workspaces -------------------------------------------------------------------------------


async def test_a_run_of_a_deleted_session_does_not_share_the_workspace_of_a_later_one(store: Store) -> None:
    await store.runs.accept(spec())
    earlier = await claim_one(store)
    session = earlier.spec.session
    await store.sessions.delete(session, force=True)
    later = (await store.runs.accept(spec())).run
    first = await store.workspaces.open(session, earlier.seq)
    released = await store.workspaces.list_released()
    second = await store.workspaces.open(session, later.seq)

    assert released == [(first, True)], "the earlier run still works in it"
    assert first not in {second, await store.workspaces.open(session, later.seq)}
    assert second not in {first, await store.workspaces.open(session, earlier.seq)}


async def test_a_released_run_whose_session_was_deleted_belongs_to_the_session_that_begins_with_it(
    store: Store,
) -> None:
    held = (await store.runs.accept(spec(held=True))).run
    await store.sessions.delete(held.spec.session, force=False)
    await store.runs.release(held.id, SessionMode.QUEUE)
    run = await claim_one(store)
    names = {await store.workspaces.open(run.spec.session, run.seq) for _ in range(2)}
    released = await store.workspaces.list_released()
    await finish(store, run, done("grown"))

    assert (len(names), released) == (1, [])
    assert await said(store) == [("user", "hello"), ("assistant", "grown")]


async def test_a_released_run_whose_session_was_deleted_belongs_to_the_session_that_has_begun_since(
    store: Store,
) -> None:
    held = (await store.runs.accept(spec(held=True))).run
    session = held.spec.session
    await store.sessions.delete(session, force=False)
    later = await running(store)
    await store.runs.save_backend_ref(later.id, later.epoch, "scripted:ref")
    workspace = await store.workspaces.open(session, later.seq)
    await finish(store, later, done("first"))
    told = Told(store)
    store.claim_at_commit("owner", LIMITS)
    await store.runs.release(held.id, SessionMode.QUEUE)
    (run,) = told.claimed
    (start,) = [claimed.session_start for commit in told.calls for claimed in commit.claimed]
    await finish(store, run, done("second"))

    assert start is not None
    assert (start.backend_ref, start.workspace) == ("scripted:ref", workspace)
    assert await store.workspaces.list_released() == []
    assert [text for role, text in await said(store) if role == "assistant"] == ["first", "second"]


async def test_a_run_that_a_deletion_has_asked_to_stop_does_not_join_the_session_of_a_released_one(
    store: Store,
) -> None:
    held = (await store.runs.accept(spec(held=True))).run
    stopping = await running(store)
    session = held.spec.session
    await store.sessions.delete(session, force=True)
    await store.runs.release(held.id, SessionMode.QUEUE)
    assert await store.runs.claim("owner", LIMITS) == []
    await store.runs.save_backend_ref(stopping.id, stopping.epoch, "scripted:old")
    left = await store.workspaces.open(session, stopping.seq)
    await finish(store, stopping, done("old"))
    run = await claim_one(store)
    workspace = await store.workspaces.open(session, run.seq)
    await finish(store, run, done("new"))

    assert await store.workspaces.list_released() == [(left, False)]
    assert workspace != left
    found = await store.sessions.find(session)
    assert found is not None
    assert found.backend_ref is None
    assert await said(store) == [("user", "hello"), ("assistant", "new")]
