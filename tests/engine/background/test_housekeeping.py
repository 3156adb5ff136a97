"""Housekeeping: what the settings say is forgotten, while work goes on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.domain.audit import AuditAction, AuditFilter, AuditNote
from gateway.domain.delivery import DeliveryStatus, Target
from gateway.domain.page import Page
from gateway.domain.retention import Retention
from gateway.domain.run import RunFilter, Status
from gateway.engine.background import housekeeping
from gateway.engine.background.housekeeping import Pruner
from gateway.errors import Unavailable
from gateway.store.sql.store import SqlStore
from harness.waiting import PATIENCE, until
from tests.contracts.stores import TRIED, SteppedClock, claim_one, done, finish, spec
from tests.engine.stage import Between, open_store, staged

pytestmark = pytest.mark.both_stores

DAY = 86_400_000


async def fill(store: SqlStore, runs: int) -> list[str]:
    made = []
    for number in range(runs):
        await store.runs.accept(spec(f"main:test:{number}"))
        made.append((await finish(store, await claim_one(store), done())).id)
    return made


async def test_nothing_is_forgotten_where_nothing_is_said(tmp_path: Path) -> None:
    clock = SteppedClock()
    store = open_store(tmp_path, clock=clock)
    await fill(store, 3)
    clock.forward(10_000 * DAY)
    await Pruner(store, Retention(), tmp_path, clock).prune_store()

    assert len(await store.runs.list(RunFilter(), Page())) == len(await store.sessions.list(Page())) == 3
    await store.close()


async def test_what_is_too_old_goes_with_its_files(tmp_path: Path) -> None:
    clock = SteppedClock()
    store = open_store(tmp_path, clock=clock)
    old, *_ = await fill(store, 30)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / f"{old}-0123456789abcdef.txt").write_text("large")
    clock.forward(2 * DAY)
    (new,) = await fill(store, 1)
    (tmp_path / "outputs" / f"{new}-0123456789abcdef.txt").write_text("large")
    keep = Retention(events_days=1, runs_days=1, sessions_days=1)
    await Pruner(store, keep, tmp_path / "outputs", clock).prune_store()

    assert [run.id for run in await store.runs.list(RunFilter(), Page())] == [new]
    assert [session.key for session in await store.sessions.list(Page())] == ["main:test:0"]
    assert [file.name[:26] for file in (tmp_path / "outputs").iterdir()] == [new]
    await store.close()


async def test_old_entries_of_the_audit_log_go(tmp_path: Path) -> None:
    clock = SteppedClock()
    store = open_store(tmp_path, clock=clock)
    await store.audit.add([AuditNote(action=AuditAction.STOP_ASKED)] * 300)
    clock.forward(2 * DAY)
    await store.audit.add([AuditNote(action=AuditAction.RESTART_ASKED)])
    await Pruner(store, Retention(), tmp_path, clock).prune_store()
    kept = len(await store.audit.list(AuditFilter(), Page(limit=1000)))
    await Pruner(store, Retention(audit_days=1), tmp_path, clock).prune_store()

    assert kept == 301
    assert [one.action for one in await store.audit.list(AuditFilter(), Page())] == ["gateway.restart_asked"]
    await store.close()


async def test_dead_letters_go_before_the_runs_that_they_keep(tmp_path: Path) -> None:
    clock = SteppedClock()
    store = open_store(tmp_path, clock=clock)
    await store.runs.accept(spec(deliver=(Target(kind="webhook", address="http://127.0.0.1:1/"),)))
    await finish(store, await claim_one(store), done())
    (delivery,) = await store.deliveries.take_due(1, 1)
    await store.deliveries.record_attempt(
        msgspec.structs.replace(delivery, status=DeliveryStatus.DEAD, finished=clock.now), TRIED
    )
    clock.forward(2 * DAY)
    (new,) = await fill(store, 1)
    await Pruner(store, Retention(runs_days=1), tmp_path, clock).prune_store()
    kept = len(await store.runs.list(RunFilter(), Page()))
    await Pruner(store, Retention(runs_days=1, dead_letters_days=1), tmp_path, clock).prune_store()

    assert (kept, [run.id for run in await store.runs.list(RunFilter(), Page())]) == (2, [new])
    await store.close()


async def test_work_is_accepted_while_much_is_forgotten(tmp_path: Path) -> None:
    clock = SteppedClock()
    store = open_store(tmp_path, clock=clock)
    await fill(store, 200)
    clock.forward(2 * DAY)
    pruning = asyncio.create_task(Pruner(store, Retention(events_days=1, runs_days=1), tmp_path, clock).prune_store())
    accepted = 0
    while not pruning.done():
        await store.runs.accept(spec(f"main:new:{accepted}"))
        accepted += 1
    await pruning

    assert accepted > 10
    assert len(await store.runs.list(RunFilter(), Page(limit=10_000))) in (accepted, accepted + 1)
    await store.close()


async def test_who_leads_brings_the_search_index_up_to_date_step_by_step_and_once(tmp_path: Path) -> None:
    steps = [True, True, False]

    class Behind(Between):
        async def perform(self, name: str, operation: Callable[..., Awaitable[Any]], *args: Any, **kw: Any) -> Any:
            return steps.pop(0) if name == "sessions.reindex_message_batch" else await operation(*args, **kw)

    async with staged(tmp_path, wrap=Behind) as stage:
        await until(lambda: not steps, "there is nothing left")
        await stage.do()

    assert steps == []


async def test_a_round_comes_after_each_interval_whatever_becomes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "HOUSEKEEPING_INTERVAL_SECONDS", 0.02)
    between = Between()
    between.refuse["retention.prune_expired"] = [Unavailable("full"), ZeroDivisionError("oh")]

    async with staged(tmp_path, wrap=between.around):
        await until(lambda: between.calls.get("retention.prune_expired", 0) == 3, "two rounds failed, one did not")


async def test_a_start_does_not_begin_with_housekeeping(tmp_path: Path) -> None:
    between = Between()

    async with staged(tmp_path, wrap=between.around) as stage:
        await stage.do()

    assert "retention.prune_expired" not in between.calls


async def test_a_round_prunes_and_fails_the_runs_of_deleted_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "HOUSEKEEPING_INTERVAL_SECONDS", 0.02)
    clock = SteppedClock()
    async with staged(tmp_path, clock=clock, retention=Retention(runs_days=1)) as stage:
        await stage.do()
        clock.forward(2 * DAY)
        orphan = (await stage.store.runs.accept(spec(f"{uuid.uuid4()}:test:a"))).run

        async with asyncio.timeout(PATIENCE):
            while [run.id for run in await stage.store.runs.list(RunFilter(), Page())] != [orphan.id]:
                await asyncio.sleep(0.005)
        assert (await stage.ended(orphan)).status is Status.FAILED


async def test_the_end_of_a_gateway_ends_its_housekeeping(tmp_path: Path) -> None:
    class Behind(Between):
        async def perform(self, name: str, operation: Callable[..., Awaitable[Any]], *args: Any, **kw: Any) -> Any:
            return True if name == "sessions.reindex_message_batch" else await operation(*args, **kw)

    def services() -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks()} & {"housekeeping", "reindexing"}

    async with staged(tmp_path, wrap=Behind):
        during = services()

    assert (during, services()) == ({"housekeeping", "reindexing"}, set())
