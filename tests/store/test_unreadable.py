"""Rows that cannot be decoded are set aside: the others of their kind go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from gateway.domain.agent import AgentDraft, AgentEdit, SessionMode
from gateway.domain.delivery import DeliveryFilter, Target
from gateway.domain.page import Page
from gateway.domain.permission import PermissionQuestion
from gateway.domain.ports.store import AgentProcess
from gateway.domain.run import Run, Status
from gateway.domain.schedule import Schedule, ScheduleSpec
from gateway.domain.search import SearchQuery, SearchTerm
from gateway.domain.session import SessionFilter, SessionKey
from gateway.domain.token import Scope, Token
from gateway.domain.unreadable import RowKind
from gateway.errors import Conflict, NotFound, ScheduleNotFound, Unreadable
from gateway.process.identity import Identity
from gateway.store.sql import sessions, unreadable
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import (
    ALL,
    LIMITS,
    PAGE,
    START,
    SteppedClock,
    Told,
    claim_one,
    finish,
    key,
    rules,
    running,
    spec,
)

TARGET = Target(kind="webhook", address="http://127.0.0.1/")
OLD = "1/1/an-earlier-boot"


def damage(store: SqliteStore, statement: str, *values: Any) -> None:
    """Change the database as another program would."""
    connection = apsw.Connection(str(store._database._path))
    opening.add_functions(connection)
    connection.set_busy_timeout(5000)
    assert connection.execute(statement, values).connection.changes() == 1, statement
    connection.close()


async def found(store: SqliteStore) -> list[tuple[str, str]]:
    return [(row.kind, row.id) for row in await store.unreadable.list()]


async def ended(store: SqliteStore, session: str = "main:test:a", **fields: Any) -> Run:
    await store.runs.accept(spec(session, **fields))
    return await finish(store, await claim_one(store))


async def two_schedules(store: SqliteStore) -> Callable[[], Awaitable[list[str]]]:
    for name in ("bad", "good"):
        made = ScheduleSpec(expression="every 1m", input="wake")
        await store.schedules.create(
            Schedule(id=name, spec=made, anchor=START, next_at=START, created=START, updated=START)
        )
    return lambda: listed(store.schedules.list(PAGE), "id")


async def listed(listing: Any, field: str) -> list[str]:
    return sorted(str(getattr(one, field)) for one in await listing)


@pytest.mark.parametrize("damaged", ['{"expression": "every 1m", "input": "", "misfire": "never"}', "{", "[]"])
async def test_a_schedule_that_cannot_be_read_stops_no_other_and_can_be_deleted(
    store: SqliteStore, damaged: str
) -> None:
    names = await two_schedules(store)
    damage(store, "UPDATE schedules SET spec = ? WHERE id = 'bad'", damaged)

    assert await names() == ["good"]
    assert await listed(store.schedules.list_due(START, 10), "id") == ["good"]
    assert await listed(store.schedules.list_budgeted(10), "id") == []
    with pytest.raises(Unreadable, match="gateway unreadable remove schedule bad"):
        await store.schedules.get("bad")
    assert await found(store) == [("schedule", "bad")]

    with pytest.raises(Conflict, match="already"):
        await store.schedules.create(msgspec.structs.replace(await store.schedules.get("good"), id="bad"))
    await store.schedules.delete("bad")

    assert await found(store) == []
    with pytest.raises(ScheduleNotFound):
        await store.schedules.delete("bad")


async def test_a_schedule_made_in_place_of_one_that_could_not_be_read_is_due(store: SqliteStore) -> None:
    await two_schedules(store)
    again = await store.schedules.get("bad")
    damage(store, "UPDATE schedules SET spec = '{}' WHERE id = 'bad'")
    assert await listed(store.schedules.list_due(START, 10), "id") == ["good"]

    await store.schedules.delete("bad")
    await store.schedules.create(again)

    assert await listed(store.schedules.list_due(START, 10), "id") == ["bad", "good"]


async def test_a_schedule_that_cannot_be_read_is_not_due(store: SqliteStore) -> None:
    await two_schedules(store)
    await store.schedules.delete("good")
    damage(store, "UPDATE schedules SET spec = '{}' WHERE id = 'bad'")

    assert await store.schedules.list_due(START, 10) == []
    assert await store.schedules.next_fire_at() is None, "the scheduler would look again at once, without end"


async def test_a_schedule_that_cannot_be_read_is_found_before_it_is_due(store: SqliteStore) -> None:
    await two_schedules(store)
    damage(store, "UPDATE schedules SET spec = '{}', next_at = ? WHERE id = 'bad'", 1 << 60)

    await store.unreadable.retry()

    assert await found(store) == [("schedule", "bad")]


async def test_a_fire_that_cannot_be_read_hides_no_other(store: SqliteStore, clock: SteppedClock) -> None:
    await two_schedules(store)
    for _ in range(2):
        clock.forward(1)
        await store.schedules.trigger("good", spec("main:cron:good"))
    damage(store, "UPDATE fires SET outcome = 'postponed' WHERE scheduled_for = ?", clock.now)

    assert len(await store.schedules.list_fires("good", PAGE)) == 1
    await store.unreadable.remove(RowKind.FIRE, f"good/{clock.now}")
    assert await found(store) == []


async def test_a_queued_run_that_cannot_be_read_stops_neither_its_session_nor_others(store: SqliteStore) -> None:
    bad, after = [(await store.runs.accept(spec())).run for _ in range(2)]
    other = (await store.runs.accept(spec("main:test:b"))).run
    damage(store, "UPDATE runs SET spec = replace(spec, 'task', 'telepathy') WHERE id = ?", bad.id)

    claimed = await store.runs.claim("owner", LIMITS)

    assert {run.id for run in claimed} == {after.id, other.id}
    assert [run.id for run in await store.runs.list(ALL, PAGE)] == [other.id, after.id]
    assert await found(store) == [("task", bad.id)]
    with pytest.raises(Unreadable, match=bad.id):
        await store.runs.get(bad.id)
    assert (await store.runs.count_totals(0)).queued == 1, "it is still there"

    await store.unreadable.remove(RowKind.TASK, bad.id)
    assert (await store.runs.count_totals(0)).queued == 0
    assert await found(store) == []


async def test_a_run_that_was_set_aside_is_tried_again_by_a_version_that_can_read_it(
    store: SqliteStore, tmp_path: Path, clock: SteppedClock
) -> None:
    run = (await store.runs.accept(spec())).run
    damage(store, "UPDATE runs SET spec = replace(spec, 'task', 'telepathy') WHERE id = ?", run.id)
    assert await store.runs.claim("owner", LIMITS) == []
    damage(store, "UPDATE runs SET spec = replace(spec, 'telepathy', 'task') WHERE id = ?", run.id)

    newer = SqliteStore(tmp_path / "moongate.db", clock=clock)
    await newer.unreadable.retry()
    claimed = await newer.runs.claim("owner", LIMITS)
    await newer.close()

    assert [one.id for one in claimed] == [run.id]


async def test_a_running_run_that_cannot_be_read_is_rescued_out_of_the_way(store: SqliteStore) -> None:
    for session in ("main:test:a", "main:test:b"):
        await store.runs.accept(spec(session))
    bad, good = sorted(await store.runs.claim("dead", LIMITS), key=lambda run: run.seq)
    damage(store, "UPDATE runs SET spec = '{' WHERE id = ?", bad.id)

    rescued = await store.owners.rescue_runs("dead")

    assert [run.id for run in rescued] == [good.id]
    assert await store.owners.list() == []
    counts = await store.runs.count_totals(0)
    assert (counts.running, counts.queued) == (0, 2)


@pytest.mark.parametrize("remove", [False, True])
async def test_the_room_of_a_running_run_that_cannot_be_read_is_given_to_others(
    store: SqliteStore, remove: bool
) -> None:
    told = Told(store)
    await store.runs.accept(spec())
    (bad,) = await store.runs.claim("dead", LIMITS)
    damage(store, "UPDATE runs SET spec = '{' WHERE id = ?", bad.id)
    with pytest.raises(Unreadable):
        await store.runs.get(bad.id)

    if remove:
        await store.unreadable.remove(RowKind.TASK, bad.id)
    else:
        await store.owners.rescue_runs("dead")

    assert told.calls[-1].is_claim_due


async def test_runs_of_a_removed_agent_fail_around_one_that_cannot_be_read(store: SqliteStore) -> None:
    bad, good = [(await store.runs.accept(spec(f"gone:test:{n}"))).run for n in range(2)]
    damage(store, "UPDATE runs SET spec = '{' WHERE id = ?", bad.id)

    assert [run.id for run in await store.runs.abandon("gone", 10, "gone")] == [good.id]
    assert await store.runs.abandon("gone", 10, "gone") == []


async def test_a_session_with_a_run_that_cannot_be_read_takes_others_and_can_be_deleted(store: SqliteStore) -> None:
    bad = (await store.runs.accept(spec())).run
    damage(store, "UPDATE runs SET spec = '{' WHERE id = ?", bad.id)
    assert await store.runs.claim("owner", LIMITS) == []

    taken = await store.runs.accept(spec(), None, rules(SessionMode.REJECT))
    await store.sessions.delete("main:test:a", force=True)

    assert (await store.runs.get(taken.run.id)).status is Status.CANCELLED


@pytest.mark.parametrize("column", ["spec", "usage", "status", "outcome"])
async def test_an_ended_run_that_cannot_be_read_hides_no_other(store: SqliteStore, column: str) -> None:
    bad, good = await ended(store), await ended(store)
    damage(store, f"UPDATE runs SET {column} = '!' WHERE id = ?", bad.id)

    assert [run.id for run in await store.runs.list(ALL, PAGE)] == [good.id]
    assert await found(store) == [("task", bad.id)]


async def test_text_that_is_not_utf8_is_set_aside_too(store: SqliteStore) -> None:
    bad, good = await ended(store), await ended(store)
    damage(store, "UPDATE runs SET result = CAST(X'ff41' AS TEXT) WHERE id = ?", bad.id)

    assert [run.id for run in await store.runs.list(ALL, PAGE)] == [good.id]
    assert await found(store) == [("task", bad.id)]


async def test_old_runs_are_pruned_around_an_open_one_that_cannot_be_read(store: SqliteStore) -> None:
    old = await ended(store)
    bad = (await store.runs.accept(spec("main:test:b"))).run
    damage(store, "UPDATE runs SET spec = '{' WHERE id = ?", bad.id)

    pruned = await store.retention.prune_runs(START)

    assert pruned.runs == (old.id,)


async def test_an_event_that_cannot_be_read_leaves_no_gap(store: SqliteStore) -> None:
    run = await ended(store)
    damage(store, 'UPDATE events SET data = \'{"kind":"smell"}\' WHERE n = 2')
    damage(store, "UPDATE events SET data = '{' WHERE n = ?", run.last_event)

    events = await store.events.read_after(run.id, 0, 100)

    assert [event.number for event in events] == list(range(1, run.last_event + 1))
    assert (events[1].kind, events[-1].kind) == ("log", "end")
    for kind, id_ in await found(store):
        await store.unreadable.remove(RowKind(kind), id_)
    assert await store.events.read_after(run.id, 0, 100) == events
    assert await found(store) == []


async def test_a_permission_request_that_cannot_be_read_does_not_keep_its_run_from_ending(store: SqliteStore) -> None:
    await store.runs.accept(spec())
    run = await claim_one(store)
    for _ in range(2):
        await store.permissions.ask(run.id, run.epoch, PermissionQuestion(action="write"), START + 1000)
    damage(store, "UPDATE permissions SET choices = '[\"perhaps\"]' WHERE n = 1")

    assert [one.number for one in await store.permissions.list(run.id, PAGE)] == [2]
    assert (await finish(store, run)).status is Status.SUCCEEDED


async def test_a_delivery_that_cannot_be_read_hides_no_other(store: SqliteStore) -> None:
    for name in "ab":
        await ended(store, f"main:test:{name}", deliver=(TARGET,))
    damage(store, "UPDATE deliveries SET status = 'lost' WHERE seq = 1")

    assert [one.seq for one in await store.deliveries.list(DeliveryFilter(), PAGE)] == [2]
    assert [one.seq for one in await store.deliveries.take_due(10, 10)] == [2]


async def test_a_message_that_cannot_be_read_hides_no_other(store: SqliteStore) -> None:
    await ended(store, text="hello")
    damage(store, "UPDATE transcript SET role = 'prophet' WHERE n = 1")

    assert [one.role for one in await store.sessions.read_history("main:test:a", 10)] == ["assistant"]
    query = SearchQuery(terms=(SearchTerm("hello"),))
    assert await store.sessions.search(query, PAGE) == []


@pytest.mark.parametrize("order", [1, -1])
async def test_a_run_with_the_number_of_a_removed_one_belongs_to_its_session(store: SqliteStore, order: int) -> None:
    bad = [(await store.runs.accept(spec(f"main:test:{name}"))).run for name in "bc"]
    for one in bad:
        damage(store, "UPDATE runs SET spec = '{' WHERE id = ?", one.id)
    assert await store.runs.claim("owner", LIMITS) == []
    await store.sessions.open(SessionKey("main", "test", "a"))
    for one in bad[::order]:
        await store.unreadable.remove(RowKind.TASK, one.id)
    run = await running(store)
    await finish(store, run)

    assert run.seq == bad[0].seq
    assert len(await store.sessions.read_history("main:test:a", 10)) == 2


async def test_a_run_that_cannot_be_read_waits_in_its_project_until_it_is_removed(store: SqliteStore) -> None:
    await store.projects.create("garden", "Garden", "")
    bad = (await store.runs.accept(spec(labels={"project": "garden"}))).run
    await claim_one(store)
    damage(store, "UPDATE runs SET spec = '{' WHERE id = ?", bad.id)
    await store.owners.rescue_runs("owner")
    waiting = (await store.projects.get("garden")).counts
    await store.unreadable.remove(RowKind.TASK, bad.id)

    assert (waiting, (await store.projects.get("garden")).counts) == ({"queued": 1}, {})


async def test_a_project_that_cannot_be_read_hides_no_other(store: SqliteStore) -> None:
    for slug in ("bad", "good"):
        await store.projects.create(slug, slug, "")
    damage(store, "UPDATE projects SET name = CAST(x'ff' AS TEXT) WHERE slug = 'bad'")

    assert [view.project.slug for view in await store.projects.list(PAGE)] == ["good"]
    await store.unreadable.remove(RowKind.PROJECT, "bad")
    await store.projects.create("bad", "bad", "")


async def test_a_token_that_cannot_be_read_is_nobodys(store: SqliteStore) -> None:
    for name in ("bad", "good"):
        await store.tokens.add(Token(name=name, hash=name, scope=Scope.READ, expires=None, created=START))
    damage(store, "UPDATE tokens SET scope = 'oracle' WHERE name = 'bad'")

    assert await listed(store.tokens.list(), "name") == ["good"]
    await store.unreadable.remove(RowKind.TOKEN, "bad")
    await store.tokens.add(Token(name="bad", hash="new", scope=Scope.READ, expires=None, created=START))


async def test_an_agent_that_cannot_be_read_hides_no_other(store: SqliteStore) -> None:
    for slug in ("bad", "good"):
        await store.agents.create(AgentDraft(slug=slug), "main")
    damage(store, "UPDATE agents SET budget = '{\"runs\": \"many\"}' WHERE slug = 'bad'")

    assert await listed(store.agents.list(), "slug") == ["good"]


async def test_a_process_that_cannot_be_read_hides_no_other(store: SqliteStore) -> None:
    await store.owners.record_process(AgentProcess(who=Identity.parse_identity(OLD), owner="dead", run=None))
    await store.owners.record_process(AgentProcess(who=Identity(2, "2", "x"), owner="dead", run=None))
    damage(store, "UPDATE processes SET who = 'somebody' WHERE who = ?", OLD)

    assert [one.who.pid for one in await store.owners.list_processes("dead")] == [2]


async def test_only_what_is_known_to_be_unreadable_can_be_removed(store: SqliteStore) -> None:
    await two_schedules(store)

    with pytest.raises(NotFound, match="no unreadable schedule"):
        await store.unreadable.remove(RowKind.SCHEDULE, "good")

    assert len(await store.schedules.list(PAGE)) == 2


async def test_removing_a_run_forgets_its_request_and_no_other(store: SqliteStore) -> None:
    bad, good = [(await store.runs.accept(spec(f"main:test:{name}"), key(name))).run for name in "ab"]
    damage(store, "UPDATE runs SET spec = '{' WHERE id = ?", bad.id)
    with pytest.raises(Unreadable):
        await store.runs.get(bad.id)

    await store.unreadable.remove(RowKind.TASK, bad.id)

    again, same = [await store.runs.accept(spec(f"main:test:{name}"), key(name)) for name in "ab"]
    assert (again.is_new, same.is_new) == (True, False)
    assert same.run.id == good.id


async def test_a_row_that_is_gone_is_no_longer_listed(store: SqliteStore) -> None:
    bad = await ended(store)
    damage(store, "UPDATE runs SET spec = '{' WHERE id = ?", bad.id)
    await store.runs.list(ALL, PAGE)
    before = store.unreadable.list_found()
    damage(store, "DELETE FROM runs WHERE id = ?", bad.id)

    await store.retention.prune_expired()

    assert (len(before), store.unreadable.list_found()) == (1, [])


async def test_many_readers_find_a_bad_row_once(store: SqliteStore) -> None:
    await two_schedules(store)
    damage(store, "UPDATE schedules SET spec = '{}' WHERE id = 'bad'")

    await asyncio.gather(*(store.schedules.list(PAGE) for _ in range(20)))

    assert await found(store) == [("schedule", "bad")]


@pytest.mark.parametrize("damaged", ['{"deliver": ["webhook"]}', '{"deliver": "webhook"}', '{"webhook'])
async def test_webhooks_are_listed_around_a_schedule_that_cannot_be_read(store: SqliteStore, damaged: str) -> None:
    await two_schedules(store)
    good = await store.schedules.get("good")
    await store.schedules.replace(
        msgspec.structs.replace(good, spec=msgspec.structs.replace(good.spec, deliver=(TARGET,)))
    )
    damage(store, "UPDATE schedules SET spec = ? WHERE id = 'bad'", damaged)

    assert [use.schedule for use in await store.deliveries.list_webhook_uses(10)] == [("good", "")]


#: text that is not UTF-8
_NOT_TEXT = "CAST(x'ff' AS TEXT)"


async def test_a_queued_run_whose_text_is_not_utf8_keeps_no_other_from_starting(store: SqliteStore) -> None:
    bad, other = [(await store.runs.accept(spec(f"main:test:{name}"))).run.id for name in "ab"]
    damage(store, f"UPDATE runs SET usage = {_NOT_TEXT} WHERE id = ?", bad)

    claimed = await store.runs.claim(OLD, LIMITS)

    assert [run.id for run in claimed] == [other]
    assert await found(store) == [("task", bad)]


async def test_a_delivery_whose_text_is_not_utf8_keeps_no_other_from_being_sent(store: SqliteStore) -> None:
    for session in ("main:test:a", "main:test:b"):
        await ended(store, session, deliver=(TARGET,))
    bad, other = await listed(store.deliveries.list(DeliveryFilter(), PAGE), "id")
    damage(store, f"UPDATE deliveries SET error = {_NOT_TEXT} WHERE id = ?", bad)

    assert await listed(store.deliveries.take_due(10, 10), "id") == [other]
    assert await found(store) == [("delivery", bad)]


async def test_a_delivery_that_cannot_be_read_does_not_hold_up_its_chat(store: SqliteStore) -> None:
    chat = Target(kind="telegram", address="42", format="chat")
    for session in ("main:test:a", "main:test:b"):
        await ended(store, session, deliver=(chat,))
    bad, other = await listed(store.deliveries.list(DeliveryFilter(), PAGE), "id")
    damage(store, f"UPDATE deliveries SET error = {_NOT_TEXT} WHERE id = ?", bad)

    taken = [one.id for _ in range(2) for one in await store.deliveries.take_due(10, 10)]

    assert taken == [other]


async def test_a_running_run_whose_text_is_not_utf8_is_rescued_out_of_the_way(store: SqliteStore) -> None:
    for session in ("main:test:a", "main:test:b"):
        await store.runs.accept(spec(session))
    bad, good = sorted(await store.runs.claim("dead", LIMITS), key=lambda run: run.seq)
    damage(store, f"UPDATE runs SET usage = {_NOT_TEXT} WHERE id = ?", bad.id)

    assert [run.id for run in await store.owners.rescue_runs("dead")] == [good.id]
    assert await store.owners.list() == []


async def test_one_damaged_text_does_not_have_its_table_searched_at_each_list(store: SqliteStore) -> None:
    bad, good = await ended(store), await ended(store)
    damage(store, f"UPDATE runs SET result = {_NOT_TEXT} WHERE id = ?", bad.id)
    await store._database.read(lambda reader: unreadable._find_damaged_text(reader, RowKind.TASK))
    store._database.unreadable._next_search[RowKind.TASK] = float("inf")
    store._database.unreadable.forget_row(RowKind.TASK, (bad.id,))

    assert [run.id for run in await store.runs.list(ALL, PAGE)] == [good.id]
    assert await found(store) == [], "it would be found again by a search"


# --- text that is not UTF-8, read by a key ----------------------------------------------------


async def is_unreadable(reading: Awaitable[object], kind: str, id_: str) -> None:
    """Check that reading says which row cannot be read, and how to remove it."""
    with pytest.raises(Unreadable, match=f"gateway unreadable remove {kind} {id_}"):
        await reading


@pytest.mark.parametrize("column", ["spec", "usage", "status", "outcome", "result", "error", "notices"])
async def test_a_run_whose_text_is_not_utf8_is_named_when_it_is_read_by_its_id(store: SqliteStore, column: str) -> None:
    bad, good = await ended(store), await ended(store)
    damage(store, f"UPDATE runs SET {column} = {_NOT_TEXT} WHERE id = ?", bad.id)

    await is_unreadable(store.runs.get(bad.id), "task", bad.id)
    await is_unreadable(store.runs.get(bad.id[:-1]), "task", bad.id)
    assert await store.runs.read_batch([bad.id, good.id], 1000, shortened=False) == (2, [good])
    assert await found(store) == [("task", bad.id)]


async def test_a_run_whose_text_is_not_utf8_is_named_when_it_is_changed(store: SqliteStore) -> None:
    run = (await store.runs.accept(spec())).run
    damage(store, f"UPDATE runs SET error = {_NOT_TEXT} WHERE id = ?", run.id)

    await is_unreadable(store.runs.cancel(run.id), "task", run.id)


async def test_a_delivery_whose_text_is_not_utf8_is_named_when_it_is_read_by_its_id(store: SqliteStore) -> None:
    for session in ("main:test:a", "main:test:b"):
        await ended(store, session, deliver=(TARGET,))
    bad, good = await store.deliveries.list(DeliveryFilter(), PAGE)
    damage(store, f"UPDATE deliveries SET address = {_NOT_TEXT} WHERE id = ?", bad.id)

    await is_unreadable(store.deliveries.get(bad.id), "delivery", bad.id)
    await is_unreadable(store.deliveries.retry(bad.id), "delivery", bad.id)
    assert await store.deliveries.get(good.id) == good


@pytest.mark.parametrize("column", ["title", "agent", "backend_ref"])
async def test_a_session_whose_text_is_not_utf8_is_named_and_hides_no_other(store: SqliteStore, column: str) -> None:
    await ended(store, "main:test:bad")
    await ended(store, "main:test:good")
    damage(store, f"UPDATE sessions SET {column} = {_NOT_TEXT} WHERE key = 'main:test:bad'")

    assert await listed(store.sessions.list(PAGE), "key") == ["main:test:good"]
    await is_unreadable(store.sessions.find("main:test:bad"), "session", "main:test:bad")
    await is_unreadable(store.sessions.find_newest("bad"), "session", "main:test:bad")
    assert await found(store) == [("session", "main:test:bad")]

    await store.unreadable.remove(RowKind.SESSION, "main:test:bad")
    assert await store.sessions.find("main:test:bad") is None
    assert await found(store) == []


async def test_pages_of_a_filter_go_on_past_sessions_that_are_not_utf8(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS_IN_ORDER", 3)
    for chat in "abcdefgh":
        await ended(store, f"main:test:{chat}")
    for chat in "bg":
        damage(store, f"UPDATE sessions SET title = {_NOT_TEXT} WHERE chat = '{chat}'")
    pages, before = [], None
    while page := await store.sessions.list(Page(limit=2, before=before), SessionFilter(channel="test")):
        pages.append("".join(session.key[-1] for session in page))
        before = page[-1].last_use_order

    assert "".join(pages) == "hfedca"


async def test_a_run_ends_though_the_title_of_its_session_is_not_utf8(store: SqliteStore) -> None:
    await ended(store)
    await store.runs.accept(spec())
    run = await claim_one(store)
    damage(store, f"UPDATE sessions SET title = {_NOT_TEXT}")

    assert (await finish(store, run)).status is Status.SUCCEEDED


async def test_a_run_ends_though_the_text_of_a_permission_request_is_not_utf8(store: SqliteStore) -> None:
    await store.runs.accept(spec())
    run = await claim_one(store)
    for _ in range(2):
        await store.permissions.ask(run.id, run.epoch, PermissionQuestion(action="write"), START + 1000)
    damage(store, f"UPDATE permissions SET action = {_NOT_TEXT} WHERE n = 1")

    await is_unreadable(store.permissions.get(run.id, 1), "permission", f"{run.seq}/1")
    assert [one.number for one in await store.permissions.list(run.id, PAGE)] == [2]
    assert (await finish(store, run)).status is Status.SUCCEEDED


async def test_a_schedule_whose_text_is_not_utf8_is_named_hides_no_other_and_can_be_deleted(
    store: SqliteStore,
) -> None:
    names = await two_schedules(store)
    damage(store, f"UPDATE schedules SET reason = {_NOT_TEXT} WHERE id = 'bad'")

    await is_unreadable(store.schedules.get("bad"), "schedule", "bad")
    await store.unreadable.retry()
    assert await names() == ["good"]
    await store.schedules.delete("bad")
    assert await found(store) == []


async def test_an_agent_whose_text_is_not_utf8_is_named_when_it_is_changed(store: SqliteStore) -> None:
    agent = await store.agents.create(AgentDraft(slug="bad"), "main")
    damage(store, f"UPDATE agents SET name = {_NOT_TEXT}")

    await is_unreadable(store.agents.edit(agent.id, AgentEdit(name="new")), "agent", agent.id)


async def test_a_note_whose_text_is_not_utf8_counts_as_none_and_hides_no_other(store: SqliteStore) -> None:
    await store.notes.save("telegram", {"bad": "1", "good": "2"})
    damage(store, f"UPDATE notes SET value = {_NOT_TEXT} WHERE name = 'bad'")

    assert await store.notes.get("telegram", "bad") is None
    assert await store.notes.list("telegram", "") == {"good": "2"}
    assert await found(store) == [("note", "telegram/bad")]


async def test_messages_after_one_whose_text_is_not_utf8_are_shown(store: SqliteStore) -> None:
    for text in ("one", "two"):
        await ended(store, text=text)
    damage(store, f"UPDATE transcript SET content = {_NOT_TEXT} WHERE n = 3")

    shown = await store.sessions.read_history("main:test:a", 10)

    assert [message.number for message in shown] == [1, 2, 4]


async def test_a_row_whose_key_is_not_utf8_hides_no_other(store: SqliteStore) -> None:
    bad, good = await ended(store), await ended(store)
    damage(store, f"UPDATE runs SET id = {_NOT_TEXT} WHERE id = ?", bad.id)

    assert [run.id for run in await store.runs.list(ALL, PAGE)] == [good.id]


async def test_a_row_after_one_whose_key_is_not_utf8_is_named(store: SqliteStore) -> None:
    nameless, bad = await ended(store), await ended(store)
    damage(store, "UPDATE runs SET id = CAST(x'2fff' AS TEXT) WHERE id = ?", nameless.id)  # first in the index
    damage(store, f"UPDATE runs SET error = {_NOT_TEXT} WHERE id = ?", bad.id)

    assert await store.runs.list(ALL, PAGE) == []
    assert await found(store) == [("task", bad.id)]


async def test_an_old_message_whose_text_is_not_utf8_does_not_stop_reindexing(store: SqliteStore) -> None:
    await ended(store, text="hello")
    damage(store, f"UPDATE transcript SET content = {_NOT_TEXT} WHERE n = 1")
    damage(store, "UPDATE respacing SET next = 1, last = 2")

    assert await store.sessions.reindex_message_batch()
    assert not await store.sessions.reindex_message_batch()
