"""Runs whose sessions are bound to a host wait for it without a place of their agent."""

from __future__ import annotations

from gateway.domain.fleet import Role
from gateway.domain.run import Outcome, Status
from tests.engine.fleet.members import Fleet
from tests.engine.stage import hanging

AGENTS = {"main": {"max_concurrent": 2}}


async def test_runs_that_wait_for_a_host_that_is_gone_take_no_place(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0, agents=AGENTS, keeps_files=True) as gate:
        async with fleet.member("one", role=Role.WORKER, agents=AGENTS, keeps_files=True):
            for session in ("main:test:a", "main:test:b"):
                await gate.ended(await gate.submit("first", session=session))
        for session in ("main:test:a", "main:test:b"):
            await gate.submit("second", session=session)
        other = await gate.submit("other", session="main:test:c")
        async with fleet.member("two", role=Role.WORKER, agents=AGENTS, keeps_files=True):
            assert (await gate.ended(other)).outcome is Outcome.COMPLETED


async def test_jobs_for_a_host_that_dies_are_taken_back(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0, agents=AGENTS, keeps_files=True) as gate:
        async with fleet.member("one", role=Role.WORKER, agents=AGENTS, keeps_files=True):
            await gate.ended(await gate.submit("first", session="main:test:a"))
        assert gate.engine._fleet is not None
        await gate.engine._fleet._leadership._mending.stop()  # the test does what it does
        fleet.execute(
            "INSERT INTO nodes (name, host, role, version, agents, slots, started, lease)"
            " VALUES ('killed', 'one', 'worker', 'test', '[\"main\"]', 2, 0, 0)"
        )
        second = await gate.submit("second", session="main:test:a")
        assert fleet.execute("SELECT dispatched FROM runs WHERE id = %s", second.id) == [(1,)]

        await gate.store.fleet.restore_lost_jobs(600_000)

        assert fleet.execute("SELECT dispatched FROM runs WHERE id = %s", second.id) == [(0,)]
        async with fleet.member("one", role=Role.WORKER, agents=AGENTS, keeps_files=True):
            assert (await gate.ended(second)).outcome is Outcome.COMPLETED


async def test_a_host_gets_no_more_runs_than_it_has_places(fleet: Fleet) -> None:
    agents = {"main": {"max_concurrent": 8}}
    async with fleet.member("gate", slots=0, agents=agents, keeps_files=True) as gate:
        async with fleet.member("one", role=Role.WORKER, agents=agents, keeps_files=True):
            for number in range(3):
                await gate.ended(await gate.submit("first", session=f"main:test:{number}"))
        async with fleet.member("one", hanging, role=Role.WORKER, slots=2, agents=agents, keeps_files=True):
            for number in range(3):
                await gate.submit("second", session=f"main:test:{number}")
            assert fleet.execute("SELECT count(*) FROM runs WHERE status = 'queued' AND dispatched = 0") == [(1,)]


async def test_a_session_waits_for_a_member_of_its_host_that_runs_its_agent(fleet: Fleet) -> None:
    both = {"main": {}, "second": {}}
    async with fleet.member("gate", slots=0, agents=both, keeps_files=True) as gate:
        async with fleet.member("one", role=Role.WORKER, agents=both, keeps_files=True):
            await gate.ended(await gate.submit("first", session="second:test:a"))
        async with fleet.member("one", role=Role.WORKER, keeps_files=True) as one:
            waiting = await gate.submit("second", session="second:test:a")
            await gate.ended(await gate.submit("other", session="main:test:b"))
            assert [turn.input for turn in one.backend.turns] == ["other"]
            assert (await gate.store.runs.get(waiting.id)).status is Status.QUEUED
            found = await gate.store.fleet.find_destinations([waiting.id])
            assert found[waiting.id].takers == 0
        async with fleet.member("one", role=Role.WORKER, agents=both, keeps_files=True):
            assert (await gate.ended(waiting)).outcome is Outcome.COMPLETED


async def test_runs_for_which_their_host_has_no_place_leave_their_agents_places_to_others(fleet: Fleet) -> None:
    agents = {"main": {"max_concurrent": 4}}
    sessions = [f"main:test:{number}" for number in range(4)]
    async with fleet.member("gate", slots=0, agents=agents, keeps_files=True) as gate:
        async with fleet.member("one", role=Role.WORKER, slots=4, agents=agents, keeps_files=True):
            for session in sessions:
                await gate.ended(await gate.submit("first", session=session))
        for session in sessions:
            await gate.submit("second", session=session)
        async with (
            fleet.member("one", hanging, role=Role.WORKER, slots=1, agents=agents, keeps_files=True),
            fleet.member("two", role=Role.WORKER, agents=agents, keeps_files=True),
        ):
            other = await gate.submit("other", session="main:test:other")

            assert (await gate.ended(other)).outcome is Outcome.COMPLETED
        assert fleet.execute("SELECT count(*) FROM runs WHERE status = 'queued'") == [(4,)]
