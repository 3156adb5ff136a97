"""What people can see of a fleet: its nodes, its queues, and what a run that was dispatched waits for."""

from __future__ import annotations

from gateway.domain.fleet import FleetView, Role
from gateway.domain.run import Run
from harness.waiting import until
from tests.engine.fleet.members import Fleet
from tests.engine.stage import Stage, hanging

ONE_AT_A_TIME = {"main": {"max_concurrent": 1}}


async def view(stage: Stage) -> FleetView:
    found = await stage.engine.view_fleet()
    assert found is not None
    return found


async def wait_of(stage: Stage, run: Run) -> str:
    """Return what a queued run waits for."""
    found = await stage.engine.queue_status.explain_waits([await stage.store.runs.get(run.id)])
    return found[run.id].text


async def test_it_tells_the_nodes_and_who_looks(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate, fleet.member("hand", hanging, role=Role.WORKER) as hand:
        await until(lambda: fleet.execute("SELECT 1 FROM nodes WHERE leads = 1"), "the gateway leads")
        await gate.begun(await gate.submit())
        seen, other = await view(gate), await view(hand)

    assert [(one.node.host, one.leads, one.is_alive, one.running) for one in seen.nodes] == [
        ("gate", True, True, 0),
        ("hand", False, True, 1),
    ]
    assert seen.leader is not None
    assert (seen.leader.host, seen.viewer, other.viewer) == ("gate", seen.nodes[0].node.name, seen.nodes[1].node.name)


async def test_it_counts_what_runs_was_dispatched_and_waits_by_agent(fleet: Fleet) -> None:
    agents = {"main": {"max_concurrent": 2}, "other": {}}
    async with (
        fleet.member("gate", slots=0, agents=agents) as gate,
        fleet.member("hand", hanging, role=Role.WORKER, slots=1, agents=agents),
    ):
        await gate.begun(await gate.submit(session="main:test:0"))
        for n in range(1, 4):
            await gate.submit(session=f"main:test:{n}")
        (queue,) = (await view(gate)).queues

    assert (queue.agent, queue.running, queue.dispatched, queue.waiting) == ("main", 1, 1, 2)
    assert queue.oldest_wait >= 0


async def test_the_oldest_wait_begins_with_the_dispatch_and_not_with_the_run(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0, agents=ONE_AT_A_TIME) as gate:
        run = await gate.submit()
        fleet.execute("UPDATE runs SET created = created - 3600000 WHERE id = %s", run.id)
        (fresh,) = (await view(gate)).queues
        fleet.execute(
            "UPDATE procrastinate_jobs SET args = jsonb_set(args, '{at}', to_jsonb(%s))", run.created - 60_000
        )
        (old,) = (await view(gate)).queues

    assert fresh.oldest_wait < 60_000 <= old.oldest_wait


async def test_a_worker_counts_how_long_its_runs_were_dispatched_before(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate, fleet.member("hand", role=Role.WORKER) as hand:
        for n in range(3):
            await gate.do("hello", session=f"main:test:{n}")
        seen, other = await view(hand), await view(gate)

    assert (seen.waits.total, other.waits.total) == (3, 0)
    assert list(seen.waits.counts) == sorted(seen.waits.counts)
    assert seen.waits.counts[-1] == 3
    assert seen.waits.seconds > 0


async def test_it_tells_how_late_the_commits_of_others_are_heard(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate, fleet.member("hand", role=Role.WORKER) as hand:
        await gate.do("hello")
        seen = await view(hand)

    assert seen.commit_lag is not None
    assert 0 <= seen.commit_lag < 60_000


async def test_a_run_that_no_worker_takes_says_that_none_runs_its_agent(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate:
        run = await gate.submit()

        assert await wait_of(gate, run) == (
            "no worker runs its agent 'main': start one with gateway worker, or cancel this task"
        )


async def test_a_run_that_waits_for_a_slot_says_so(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate, fleet.member("hand", hanging, role=Role.WORKER, slots=1):
        await gate.begun(await gate.submit(session="main:test:a"))
        run = await gate.submit(session="main:test:b")

        assert await wait_of(gate, run) == "it waits for a free worker"


async def test_a_run_behind_another_of_its_session_is_not_said_to_wait_for_a_worker(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate:
        first, second = await gate.submit(), await gate.submit()

        assert await wait_of(gate, second) == f"the run {first.id} of its session goes first"


async def test_a_session_whose_host_is_away_waits_for_it(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate:
        async with fleet.member("desk", role=Role.WORKER, keeps_files=True):
            await gate.do("hello")
        run = await gate.submit("and again")

        assert await wait_of(gate, run) == "it waits for the return of the host 'desk', to which its session is bound"
