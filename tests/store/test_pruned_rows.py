"""What has expired is really deleted from each table, and nothing else."""

from __future__ import annotations

import apsw
import pytest

from gateway.domain.budget import UsageGrouping
from gateway.domain.event import Usage
from gateway.domain.schedule import Schedule, ScheduleSpec
from gateway.domain.token import Scope, Ticket, Token
from gateway.store.sql import store as module
from gateway.store.sql.schedules import FIRE_RETENTION_MS
from gateway.store.sql.usage import USAGE_RETENTION_DAYS
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import START, SteppedClock, claim_one, done, finish, key, spec

DAY = 86_400_000


def rows(store: SqliteStore, query: str) -> list[object]:
    """Return the first column of a query, asked on a connection of its own."""
    connection = apsw.Connection(str(store._database._path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [row[0] for row in connection.execute(query)]
    finally:
        connection.close()


async def test_expired_idempotency_keys_are_deleted(store: SqliteStore, clock: SteppedClock) -> None:
    await store.runs.accept(spec(), key("old"))
    clock.forward(DAY)
    await store.runs.accept(spec(), key("new"))
    before = rows(store, "SELECT key FROM idempotency ORDER BY key")

    await store.retention.prune_expired()

    assert (before, rows(store, "SELECT key FROM idempotency")) == (["new", "old"], ["new"])


async def test_expired_notes_are_deleted(store: SqliteStore, clock: SteppedClock) -> None:
    await store.notes.save("c", {"old": ""}, expires=START + 1)
    await store.notes.save("c", {"new": ""}, expires=START + 3)
    await store.notes.save("c", {"kept": ""})
    clock.forward(2)

    await store.retention.prune_expired()

    assert rows(store, "SELECT name FROM notes ORDER BY name") == ["kept", "new"]


async def test_old_fires_are_deleted(store: SqliteStore, clock: SteppedClock) -> None:
    made = Schedule(
        id="s",
        spec=ScheduleSpec(expression="every 1h", input="hi"),
        anchor=START,
        next_at=None,
        created=START,
        updated=START,
    )
    await store.schedules.create(made)
    await store.schedules.trigger("s", spec())
    clock.forward(FIRE_RETENTION_MS + 1)
    await store.schedules.trigger("s", spec())

    await store.retention.prune_expired()

    assert len(rows(store, "SELECT at FROM fires")) == 1


async def test_old_usage_is_deleted(store: SqliteStore, clock: SteppedClock) -> None:
    for _ in range(2):
        await store.runs.accept(spec())
        await finish(store, await claim_one(store), done(usage=Usage(input=1)), [Usage(input=1)])
        clock.forward((USAGE_RETENTION_DAYS + 1) * DAY)
    clock.forward(-DAY)  # the second one is of the last day that is kept
    await store.runs.accept(spec())
    await finish(store, await claim_one(store), done(usage=Usage(input=1)), [Usage(input=1)])

    await store.retention.prune_expired()

    assert len(rows(store, "SELECT day FROM usage")) == 2
    assert len(await store.usage.sum_days(UsageGrouping.DAY, "2000-01-01", "2100-01-01")) == 2


async def test_all_but_the_newest_changes_are_deleted(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHANGES_KEPT", 3)
    for number in range(5):
        await store.runs.accept(spec(f"main:test:{number}"))
    last = await store.events.last_change()

    await store.retention.prune_expired()

    assert rows(store, "SELECT seq FROM changes ORDER BY seq") == [last - 2, last - 1, last]


async def test_expired_tickets_are_deleted_with_the_next_one(store: SqliteStore, clock: SteppedClock) -> None:
    await store.tokens.add_ticket(Ticket(hash="old", token="t", expires=START + 1))
    clock.forward(1)
    await store.tokens.add_ticket(Ticket(hash="new", token="t", expires=START + 2))

    assert rows(store, "SELECT hash FROM tickets") == ["new"]


async def test_a_run_is_kept_while_its_request_may_be_repeated(store: SqliteStore, clock: SteppedClock) -> None:
    first = (await store.runs.accept(spec(), key())).run
    await finish(store, await claim_one(store))
    await store.runs.accept(spec())
    clock.forward(DAY - 1)

    kept = await store.retention.prune_runs(clock.now)
    again = await store.runs.accept(spec(), key())
    clock.forward(1)
    pruned = await store.retention.prune_runs(clock.now)

    assert (kept.runs, again.run.id, again.is_new) == ((), first.id, False)
    assert pruned.runs == (first.id,)


async def test_a_token_made_again_under_an_old_name_is_another_caller(store: SqliteStore) -> None:
    token = Token(name="bot", hash="1", scope=Scope.WRITE, expires=None, created=START)
    await store.tokens.add(token)
    scopes = ("bot POST /api/tasks", "bots POST /api/tasks", "bo POST /api/tasks", "inbound bot", "bot github")
    for scope in scopes:
        await store.runs.accept(spec(), key(scope=scope))

    await store.tokens.revoke("bot")

    assert rows(store, "SELECT scope FROM idempotency") == sorted(scopes[1:])


async def test_a_schedule_that_was_deleted_is_created_again_by_the_same_request(store: SqliteStore) -> None:
    made = Schedule(
        id="s",
        spec=ScheduleSpec(expression="every 1h", input="hi"),
        anchor=START,
        next_at=None,
        created=START,
        updated=START,
    )
    await store.schedules.create(made, key())
    await store.schedules.delete("s")

    assert (await store.schedules.create(made, key())).id == "s"
