"""Two processes on one store: what one commits, the other sees."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.domain.agent import AgentDraft
from gateway.domain.page import Page
from gateway.domain.run import RunFilter, Status
from gateway.domain.times import wall_clock
from gateway.engine.background import peer_process
from gateway.engine.execution.owner import Owner
from gateway.errors import Unavailable
from gateway.process import identity
from gateway.store.sql.store import SqlStore
from harness.waiting import PATIENCE, until
from tests.contracts.stores import claim_one, finish, spec
from tests.engine.stage import Between, hanging, open_store, staged

pytestmark = pytest.mark.both_stores


class Watched(Between):
    """Records whether the engine takes another process for a writer."""

    def __init__(self) -> None:
        super().__init__()
        self.shared: list[bool] = []

    def set_concurrent_writer(self, shared: bool) -> None:
        self.shared.append(shared)


async def leave_claimed(store: SqlStore) -> None:
    """Leave a run to another process that lives."""
    await store.runs.accept(spec())
    await claim_one(store, str(Owner("other", identity.own_identity())))


async def test_a_run_that_another_process_accepts_is_done_though_it_has_none_of_its_own(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        other = open_store(tmp_path, clock=wall_clock)
        try:
            run = (await other.runs.accept(spec("main:test:a", "late"))).run
        finally:
            await other.close()

        async with asyncio.timeout(PATIENCE):
            assert (await stage.ended(run.id)).status is Status.SUCCEEDED


async def test_a_cancel_in_another_process_stops_the_run_here(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        run = await stage.begun(await stage.submit())
        other = open_store(tmp_path, clock=wall_clock)
        try:
            await other.runs.cancel(run.id)
        finally:
            await other.close()

        assert (await stage.ended(run)).status is Status.CANCELLED


async def test_what_could_not_be_read_when_another_process_committed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_process, "RESCUE_INTERVAL_SECONDS", 3600.0)
    monkeypatch.setattr(peer_process, "IDLE_POLL_SECONDS", 0.05)
    between = Between()

    async with staged(tmp_path, wrap=between.around) as stage:
        between.refuse["agents.list"] = [Unavailable("the disk refuses.") for _ in range(10_000)]
        other = open_store(tmp_path, clock=wall_clock)
        try:
            await other.agents.create(AgentDraft(slug="late"), "main", None)
        finally:
            await other.close()
        left = len(between.refuse["agents.list"])
        # The first of these reads may be due to an earlier commit; the second one is due to the other process.
        await until(lambda: len(between.refuse["agents.list"]) <= left - 2, "two reads are refused")
        assert stage.engine.agents.find_by_name("late") is None

        between.refuse["agents.list"] = []
        await until(lambda: stage.engine.agents.find_by_name("late"), "the agent of the other process is seen")


async def test_another_process_is_given_time_to_write_until_its_runs_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_process, "RESCUE_INTERVAL_SECONDS", 0.02)
    watched = Watched()

    async with staged(tmp_path, prepare=leave_claimed, wrap=watched.around) as stage:
        await until(lambda: watched.shared == [True], "the other one is known to write")
        (run,) = await stage.engine.runs.list_runs(RunFilter(), Page())
        await finish(stage.store, run)
        await until(lambda: watched.shared == [True, False], "it is known to write no more")


async def test_a_process_that_steps_down_expects_the_next_one_to_write(tmp_path: Path) -> None:
    watched = Watched()

    async with staged(tmp_path, wrap=watched.around) as stage:
        await stage.engine.step_down()

    assert watched.shared == [True]
