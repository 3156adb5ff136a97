"""Nothing is done a second time after a restore, unless somebody says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.backup import settling
from gateway.backup.manifest import BackupHeader
from gateway.domain.alert import AlertContent, AlertMessage, AlertMessageStatus, AlertUpdate
from gateway.domain.audit import AuditFilter
from gateway.domain.delivery import DeliveryFilter, DeliveryStatus, Target
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.run import Outcome, RunFilter, Status
from gateway.domain.schedule import Misfire, Schedule, ScheduleSpec
from gateway.domain.times import wall_clock
from gateway.errors import Conflict
from gateway.store.sql.recovering import MAX_RECOVERED_ROWS
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import claim_one, done, finish, running, spec

T = TypeVar("T")

HEADER = BackupHeader(version="1", schema=0, created_at=0, host="h", home="/home", running=True)
HOOK = Target(kind="webhook", address="https://example.org/hook")
HOUR_MS = 3_600_000


def in_store(path: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        store = SqliteStore(path)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with a run at work, one that waits, one for tomorrow, and a delivery that waits."""
    path = tmp_path / "moongate.db"

    async def fill(store: Store) -> None:
        await store.runs.accept(spec("main:test:ended", deliver=(HOOK,)))
        await finish(store, await claim_one(store), done())
        await running(store, session="main:test:a", deliver=(HOOK,))
        await store.runs.accept(spec("main:test:a", "waits"))
        await store.runs.accept(spec("main:test:b", "tomorrow", run_at=wall_clock() + 24 * HOUR_MS))
        await store.runs.accept(spec("main:test:c", "held", held=True))

    in_store(path, fill)
    return path


def statuses(path: Path) -> list[Status]:
    async def read(store: Store) -> list[Status]:
        return [run.status for run in reversed(await store.runs.list(RunFilter(), Page(limit=100)))]

    return in_store(path, read)


def test_what_was_open_is_ended_and_can_be_retried(database: Path) -> None:
    work = settling.settle_database(database, HEADER, resume=False, fire_missed=False)

    assert (work.ended_runs, work.given_up_deliveries) == (2, 2)
    assert statuses(database) == [Status.SUCCEEDED, Status.CANCELLED, Status.CANCELLED, Status.QUEUED, Status.HELD]

    async def look(store: Store) -> None:
        runs = await store.runs.list(RunFilter(statuses=(Status.CANCELLED,)), Page(limit=100))
        assert {run.outcome for run in runs} == {Outcome.INTERRUPTED}
        assert all("may have run it; retry it if not" in str(run.error) for run in runs)
        deliveries = await store.deliveries.list(DeliveryFilter(), Page(limit=100))
        assert {one.status for one in deliveries} == {DeliveryStatus.DEAD}
        assert all("may have sent it" in str(one.error) for one in deliveries)
        assert (await store.deliveries.retry(deliveries[0].id)).status is DeliveryStatus.PENDING

    in_store(database, look)


def test_messages_about_alerts_are_not_sent_a_second_time_and_the_audit_log_tells_of_the_restore(
    database: Path,
) -> None:
    waiting = [
        AlertMessage(id=id_, receiver="ops", status=status, content=AlertContent(), next_at=1, created=1)
        for id_, status in (("a", AlertMessageStatus.COLLECTING), ("b", AlertMessageStatus.PENDING))
    ]

    async def fill(store: Store) -> None:
        assert await store.alerts.save(AlertUpdate(revision=0, position=1, messages=waiting))

    in_store(database, fill)
    settling.settle_database(database, HEADER, resume=False, fire_missed=False)

    async def look(store: Store) -> None:
        assert (await store.alerts.read_state()).waiting == []
        (entry, *_) = await store.audit.list(AuditFilter(), Page(limit=1))
        assert (entry.action, entry.details["host"]) == ("data.restored", "h")

    in_store(database, look)


def test_open_work_goes_on_if_it_may(database: Path) -> None:
    work = settling.settle_database(database, HEADER, resume=True, fire_missed=False)

    assert (work.ended_runs, work.given_up_deliveries) == (0, 0)
    assert statuses(database) == [Status.SUCCEEDED, Status.QUEUED, Status.QUEUED, Status.QUEUED, Status.HELD]

    async def look(store: Store) -> None:
        assert (await claim_one(store)).spec.session == "main:test:a"
        assert (await store.deliveries.count_undelivered()).pending == 1

    in_store(database, look)


def test_more_runs_than_one_transaction_changes_are_ended(tmp_path: Path) -> None:
    path = tmp_path / "moongate.db"

    async def fill(store: Store) -> None:
        await asyncio.gather(*(store.runs.accept(spec()) for _ in range(MAX_RECOVERED_ROWS + 5)))

    in_store(path, fill)

    work = settling.settle_database(path, HEADER, resume=False, fire_missed=False)

    assert work.ended_runs == MAX_RECOVERED_ROWS + 5


@pytest.mark.parametrize("fire_missed", [False, True])
def test_missed_times_of_schedules_do_not_fire_unless_asked_for(tmp_path: Path, fire_missed: bool) -> None:
    path, now = tmp_path / "moongate.db", wall_clock()

    async def fill(store: Store) -> None:
        for name in ("one", "other"):
            words = ScheduleSpec(expression="every 1h", input="wake", misfire=Misfire.ALL)
            due = now - 7 * HOUR_MS // 2
            await store.schedules.create(
                Schedule(id=name, spec=words, anchor=due, next_at=due, created=due, updated=due)
            )

    in_store(path, fill)

    work = settling.settle_database(path, HEADER, resume=True, fire_missed=fire_missed)

    async def look(store: Store) -> tuple[int, list[int]]:
        due = await store.schedules.list_due(wall_clock(), 10)
        listed = await store.schedules.list(Page(limit=10))
        return len(due), [one.missed for one in listed]

    assert work.skipped_schedules == (0 if fire_missed else 2)
    assert in_store(path, look) == ((2, [0, 0]) if fire_missed else (0, [3, 3]))


def test_a_damaged_database_is_refused(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096:12_288] = bytes(8192)
    database.write_bytes(content)

    with pytest.raises(Conflict, match="damaged"):
        settling.settle_database(database, HEADER, resume=False, fire_missed=False)
