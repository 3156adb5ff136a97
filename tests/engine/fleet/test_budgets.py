"""Budgets count what was dispatched, and has not begun, once."""

from __future__ import annotations

from gateway.domain.budget import Budget
from gateway.domain.fleet import Role
from gateway.domain.run import Outcome, Status
from tests.engine.fleet.members import Fleet
from tests.engine.stage import hanging


async def test_what_waits_for_a_worker_counts(fleet: Fleet) -> None:
    agents = {"main": {"budget": Budget(runs=1), "max_concurrent": 4}}
    async with fleet.member("gate", slots=0, agents=agents) as gate:
        runs = [await gate.submit("hello", session=f"main:test:{number}") for number in range(3)]
        refused = [await gate.ended(run) for run in runs[1:]]
        assert [run.outcome for run in refused] == [Outcome.OVER_BUDGET] * 2
        async with fleet.member("hand", role=Role.WORKER, agents=agents):
            assert (await gate.ended(runs[0])).outcome is Outcome.COMPLETED


async def test_what_is_tried_again_does_not_count_twice(fleet: Fleet) -> None:
    agents = {"main": {"budget": Budget(runs=2), "max_concurrent": 4}}
    async with fleet.member("gate", slots=0, agents=agents) as gate:
        async with fleet.member("hand", hanging, role=Role.WORKER, agents=agents):
            first = await gate.said(await gate.submit("hello"))
        second = await gate.submit("hello", session="main:test:b")
        assert (await gate.store.runs.get(second.id)).status is Status.QUEUED
        async with fleet.member("hand", role=Role.WORKER, agents=agents):
            assert (await gate.ended(first)).outcome is Outcome.COMPLETED
            assert (await gate.ended(second)).outcome is Outcome.COMPLETED
