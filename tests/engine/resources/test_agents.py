"""Agents that no longer exist: their queued runs fail, and no others. Models that an agent does not take."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from gateway.domain.offer import Offer, OfferedChoice, OtherModels
from gateway.domain.run import Status
from gateway.errors import InvalidRequest
from gateway.store.sql.store import SqlStore
from tests.contracts.stores import spec
from tests.engine.stage import staged

pytestmark = pytest.mark.both_stores


async def test_a_process_that_leads_fails_only_the_runs_of_deleted_stored_agents(tmp_path: Path) -> None:
    """A newer process may have accepted runs for agents of a newer config file."""
    deleted = str(uuid.uuid4())
    async with staged(tmp_path) as stage:
        waiting = [(await stage.store.runs.accept(spec(f"{agent}:test:a"))).run.id for agent in (deleted, "newer")]
        await stage.engine.agents.fail_orphaned_runs(configured=False)

        assert [(await stage.store.runs.get(run)).status for run in waiting] == [Status.FAILED, Status.QUEUED]


async def test_a_process_that_begins_to_lead_fails_the_runs_of_all_agents_that_are_gone(tmp_path: Path) -> None:
    waiting: list[str] = []

    async def prepare(store: SqlStore) -> None:
        agents = (str(uuid.uuid4()), "gone", "off")
        waiting.extend([(await store.runs.accept(spec(f"{agent}:test:a"))).run.id for agent in agents])

    async with staged(tmp_path, agents={"main": {}, "off": {"enabled": False}}, prepare=prepare) as stage:
        found = [await stage.store.runs.get(run) for run in waiting]

    assert [run.status for run in found] == [Status.FAILED, Status.FAILED, Status.QUEUED]
    assert found[1].error == "the agent 'gone' was removed before this run began."


async def test_a_model_that_the_agent_certainly_does_not_take_is_refused(tmp_path: Path) -> None:
    listed = tuple(OfferedChoice(id=name, name=name) for name in ("small", "large"))
    async with staged(tmp_path) as stage:
        taken = await stage.do(model="huge")
        stage.backend.find_offer = lambda _: Offer(models=listed, other_models=OtherModels.NONE)  # type: ignore[attr-defined]
        with pytest.raises(InvalidRequest, match="the agent 'main' does not offer 'lage'") as refused:
            await stage.submit(model="lage")
        listed_one = await stage.do(model="large")
        without = await stage.do()
        stage.backend.find_offer = lambda _: None  # type: ignore[attr-defined]
        unknown = await stage.do(model="huge")

    assert refused.value.remedy == "It offers large; all of them: gateway agents show main"
    assert [run.status for run in (taken, listed_one, without, unknown)] == [Status.SUCCEEDED] * 4
