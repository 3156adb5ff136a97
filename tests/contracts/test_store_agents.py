"""Every store keeps the contract: agents, and the slots that assigned runs hold."""

from __future__ import annotations

import asyncio
import uuid

import msgspec
import pytest

from gateway.domain.agent import AgentDraft, AgentEdit, StoredAgent
from gateway.domain.ports.store import Store
from gateway.domain.queue import AdmissionRules, AgentLoad, RunLimits
from gateway.domain.run import Outcome, RunSpec, Source, Status
from gateway.domain.session import Role
from gateway.errors import AgentBusy, AgentDisabled, AgentNotFound, Conflict
from gateway.store.sql import agents
from tests.contracts.stores import ALL, LIMITS, PAGE, START, Shelf, SteppedClock, Told, claim_one, finish, key, spec

DRAFT = AgentDraft(slug="reviewer", name="The reviewer", model="m", system_prompt="Review.", max_concurrent=3)
OPEN = AdmissionRules(slots=3, stored=False)


def assigned(session: str = "main:task:a") -> RunSpec:
    return msgspec.structs.replace(spec(session), source=Source.ASSIGN)


async def make(store: Store, slug: str = "reviewer", **fields: object) -> StoredAgent:
    return await store.agents.create(AgentDraft(slug=slug, **fields), "main")  # type: ignore[arg-type]


async def test_an_agent_is_stored_as_it_was_created(shelf: Shelf) -> None:
    store = shelf.open()
    made = await store.agents.create(DRAFT, "main")
    await store.close()

    (found,) = await shelf.open().agents.list()

    assert found == made
    assert (found.slug, found.name, found.base, found.model) == ("reviewer", "The reviewer", "main", "m")
    assert (found.system_prompt, found.max_concurrent, found.enabled) == ("Review.", 3, True)
    assert (found.created, found.updated, str(uuid.UUID(found.id))) == (START, START, found.id)


async def test_an_agent_without_a_name_is_called_by_its_slug(store: Store) -> None:
    assert (await make(store)).name == "reviewer"


async def test_a_slug_can_be_used_once(store: Store) -> None:
    await make(store)
    other = await make(store, "other")

    with pytest.raises(Conflict, match="slug 'reviewer'"):
        await make(store)
    with pytest.raises(Conflict, match="slug 'reviewer'"):
        await store.agents.edit(other.id, AgentEdit(slug="reviewer"))

    assert [agent.slug for agent in await store.agents.list()] in (["reviewer", "other"], ["other", "reviewer"])


async def test_a_change_to_one_agent_leaves_the_others(store: Store) -> None:
    first, second, third = [await make(store, slug) for slug in ("first", "second", "third")]
    edited = await store.agents.edit(first.id, AgentEdit(name="changed"))
    await store.agents.delete(second.id)

    assert {agent.id: agent for agent in await store.agents.list()} == {first.id: edited, third.id: third}


async def test_slots_of_one_agent_do_not_count_for_another(store: Store) -> None:
    await store.runs.accept(assigned(), None, AdmissionRules(slots=1, stored=False))

    assert (await store.runs.accept(assigned("other:task:a"), None, AdmissionRules(slots=1, stored=False))).is_new


async def test_running_runs_of_one_agent_do_not_count_for_another(store: Store) -> None:
    limits = RunLimits(total=10, agents={"main": 1, "other": 1})
    await store.runs.accept(spec("main:test:a"))
    first = await store.runs.claim("owner", limits)
    await store.runs.accept(spec("other:test:a"))

    assert len(first) == 1
    assert len(await store.runs.claim("owner", limits)) == 1


async def test_the_same_key_makes_one_agent(store: Store) -> None:
    first = await store.agents.create(DRAFT, "main", key())

    assert await store.agents.create(DRAFT, "main", key()) == first
    with pytest.raises(Conflict):
        await store.agents.create(DRAFT, "main", key(digest="another"))
    assert len(await store.agents.list()) == 1


async def test_the_number_of_agents_is_limited(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "MAX_AGENTS", 1)
    await make(store)

    with pytest.raises(Conflict, match="1 agents already"):
        await make(store, "other")


async def test_only_the_given_fields_change(store: Store, clock: SteppedClock) -> None:
    made = await store.agents.create(DRAFT, "main")
    clock.forward(10)

    edited = await store.agents.edit(made.id, AgentEdit(model=None, enabled=False, max_concurrent=5))

    expected = msgspec.structs.replace(made, model=None, enabled=False, max_concurrent=5, updated=START + 10)
    assert edited == expected
    assert await store.agents.list() == [expected]


async def test_an_agent_is_deleted_once(store: Store) -> None:
    made = await make(store)

    assert await store.agents.delete(made.id)
    assert not await store.agents.delete(made.id)
    with pytest.raises(AgentNotFound):
        await store.agents.edit(made.id, AgentEdit(name="x"))
    assert await store.agents.list() == []


async def test_changes_of_agents_are_published(store: Store) -> None:
    told = Told(store)
    made = await make(store)
    await store.agents.edit(made.id, AgentEdit(name="x"))
    await store.agents.delete(made.id)

    changes = [(change.topic, change.ref, change.state, change.agent) for change in told.changes]
    assert changes == [("agent", made.id, state, made.id) for state in ("created", "edited", "deleted")]


# --- slots ------------------------------------------------------------------------------------


async def test_assigned_runs_hold_slots_until_they_end(store: Store) -> None:
    first = (await store.runs.accept(assigned("main:task:1"), admission=OPEN)).run
    for number in (2, 3):
        await store.runs.accept(assigned(f"main:task:{number}"), admission=OPEN)
    with pytest.raises(AgentBusy, match="3 tasks, and takes 3"):
        await store.runs.accept(assigned("main:task:4"), admission=OPEN)

    await store.runs.cancel(first.id)
    await store.runs.accept(assigned("main:task:4"), admission=OPEN)

    await store.runs.claim("owner", LIMITS)
    with pytest.raises(AgentBusy):
        await store.runs.accept(assigned("main:task:5"), admission=OPEN)
    assert len(await store.runs.list(ALL, PAGE)) == 4


async def test_runs_that_were_not_assigned_take_no_slot(store: Store) -> None:
    for number in range(5):
        await store.runs.accept(spec(f"main:test:{number}"), admission=AdmissionRules(slots=1, stored=False))
    await store.runs.accept(assigned(), admission=AdmissionRules(slots=1, stored=False))

    assert (await store.agents.count_loads())["main"] == AgentLoad(running=0, queued=6, slots=1)


async def test_the_same_key_takes_one_slot(store: Store) -> None:
    one = AdmissionRules(slots=1, stored=False)
    first = await store.runs.accept(assigned(), key(), admission=one)

    assert (await store.runs.accept(assigned(), key(), admission=one)).run == first.run


async def test_of_many_simultaneous_assignments_as_many_succeed_as_there_are_slots(store: Store) -> None:
    specs = [assigned(f"main:task:{number}") for number in range(50)]

    done = await asyncio.gather(*(store.runs.accept(one, admission=OPEN) for one in specs), return_exceptions=True)

    assert [type(one) for one in done if isinstance(one, Exception)] == [AgentBusy] * 47
    assert (await store.agents.count_loads())["main"].slots == 3


async def test_slots_outlive_a_crash_and_end_with_their_runs(shelf: Shelf) -> None:
    store = shelf.open()
    for number in range(3):
        await store.runs.accept(assigned(f"main:task:{number}"), admission=OPEN)
    await store.runs.claim("dead", LIMITS)
    await store.close()

    store = shelf.open()
    await store.owners.rescue_runs("dead")
    with pytest.raises(AgentBusy):
        await store.runs.accept(assigned("main:task:9"), admission=OPEN)
    for run in await store.runs.claim("owner", LIMITS):
        await finish(store, run)

    assert await store.agents.count_loads() == {}


async def test_the_slots_of_a_stored_agent_are_as_the_store_says(store: Store) -> None:
    made = await make(store, max_concurrent=1)
    stale = AdmissionRules(slots=100, stored=True)
    await store.runs.accept(assigned(f"{made.id}:task:1"), admission=stale)

    with pytest.raises(AgentBusy, match="takes 1 at a time"):
        await store.runs.accept(assigned(f"{made.id}:task:2"), admission=stale)
    await store.agents.edit(made.id, AgentEdit(max_concurrent=2))
    await store.runs.accept(assigned(f"{made.id}:task:2"), admission=stale)


@pytest.mark.parametrize("make_spec", [assigned, spec])
async def test_nothing_is_accepted_for_a_stored_agent_that_was_disabled_or_deleted(
    store: Store, make_spec: object
) -> None:
    made = await make(store)
    wanted: RunSpec = make_spec(f"{made.id}:task:1")  # type: ignore[operator]
    stored = AdmissionRules(slots=1, stored=True)

    await store.agents.edit(made.id, AgentEdit(enabled=False))
    with pytest.raises(AgentDisabled):
        await store.runs.accept(wanted, admission=stored)
    await store.agents.delete(made.id)
    with pytest.raises(AgentNotFound):
        await store.runs.accept(wanted, admission=stored)

    assert await store.runs.list(ALL, PAGE) == []


# --- runs of a deleted agent --------------------------------------------------------------------


async def test_queued_runs_of_a_deleted_agent_fail(store: Store) -> None:
    waiting = [(await store.runs.accept(spec("gone:test:a", text))).run for text in ("first", "second")]
    delayed = (await store.runs.accept(spec("gone:test:b", run_at=START + 1000))).run
    other = (await store.runs.accept(spec("main:test:a"))).run

    assert len(await store.runs.abandon("gone", 2, "gone")) == 2
    assert len(await store.runs.abandon("gone", 2, "gone")) == 1
    assert await store.runs.abandon("gone", 2, "gone") == []

    for run in [await store.runs.get(run.id) for run in (*waiting, delayed)]:
        assert (run.status, run.outcome) == (Status.FAILED, Outcome.AGENT_ERROR)
        assert run.error == "the agent 'gone' was removed before this run began."
    said = [(message.role, message.content) for message in await store.sessions.read_history("gone:test:a", 10)]
    assert said == [(Role.USER, "first"), (Role.USER, "second")]
    assert (await store.runs.get(other.id)).status is Status.QUEUED
    assert (await store.runs.count_totals(0)).queued == 1


async def test_running_runs_of_a_deleted_agent_continue(store: Store) -> None:
    await store.runs.accept(spec("main:test:a"))
    run = await claim_one(store)

    assert await store.runs.abandon("main", 10, "main") == []
    assert (await finish(store, run)).status is Status.SUCCEEDED
