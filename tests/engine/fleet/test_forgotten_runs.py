"""What a replica does not know that takes the place of its server: the last claims, and the last ends of runs."""

from __future__ import annotations

import pytest

from gateway.domain.event import Text
from gateway.domain.fleet import Role
from gateway.domain.ports.run_store import Fenced
from gateway.domain.run import Outcome, Status
from gateway.engine.fleet import membership
from gateway.store.postgres import fleet as fleet_statements
from tests.engine.fleet.members import Fleet
from tests.engine.stage import hanging


async def test_a_run_is_tried_again_whose_end_is_lost(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "LEASE_RENEWAL_SECONDS", 0.05)
    async with fleet.member("gate", slots=0) as gate, fleet.member("hand", role=Role.WORKER) as hand:
        run = await gate.ended(await gate.submit("work"))
        fleet.execute("DELETE FROM events WHERE data LIKE '%%\"end\"%%'")
        fleet.execute(
            "UPDATE runs SET status = 'running', last_event = last_event - 1, outcome = NULL, finished = NULL,"
            " owner = (SELECT name FROM nodes WHERE host = 'hand') WHERE id = %s",
            run.id,
        )

        assert (await gate.ended(run)).attempt == 2

    assert len(hand.backend.turns) == 2


async def test_a_run_is_dispatched_again_whose_claim_is_lost(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fleet.member("gate", slots=0) as gate:
        run = await gate.submit("work")
        fleet.execute("UPDATE procrastinate_jobs SET status = 'doing'")
        await gate.store.fleet.restore_lost_jobs(600_000)
        assert fleet.execute("SELECT dispatched FROM runs WHERE id = %s", run.id) == [(1,)]

        monkeypatch.setattr(fleet_statements, "CLAIM_TIMEOUT_SECONDS", 0)
        await gate.store.fleet.restore_lost_jobs(600_000)

        async with fleet.member("hand", role=Role.WORKER):
            ended = await gate.ended(run)
            assert (ended.status, ended.outcome) == (Status.SUCCEEDED, Outcome.COMPLETED)


async def test_a_claim_of_another_member_under_the_same_epoch_is_not_ones_own(fleet: Fleet) -> None:
    async with fleet.member("one", hanging) as one:
        run = await one.said(await one.submit("work"))
        # A replica that had not heard of the claim gave the run to another member.
        fleet.execute("UPDATE runs SET owner = 'another' WHERE id = %s", run.id)

        with pytest.raises(Fenced):
            await one.store.events.append(run.id, run.epoch, [Text(delta="late")])
        with pytest.raises(Fenced):
            await one.store.runs.requeue(run.id, run.epoch, "late")
