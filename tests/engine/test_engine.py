"""The engine's operations: submit, wait, watch, cancel, retry, and sessions in use."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.domain.agent import SessionMode
from gateway.domain.event import End
from gateway.domain.run import Outcome, Status
from gateway.errors import AgentBusy, AgentNotFound, Conflict, InvalidRequest, RunNotFound, TimedOut, Unavailable
from tests.contracts.stores import key, spec
from tests.engine.stage import Between, answering, hanging, staged

pytestmark = pytest.mark.both_stores

KEY = "main:test:a"

# --- waiting ----------------------------------------------------------------------------------


async def test_a_wait_for_a_run_that_has_ended_returns_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        run = await stage.do()

        assert await stage.engine.runs.wait_for_run(run.id, 0) == run


async def test_a_wait_that_is_too_short_ends_and_the_run_goes_on(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        run = await stage.begun(await stage.submit())

        with pytest.raises(TimedOut) as caught:
            await stage.engine.runs.wait_for_run(run.id, 0.01)

        assert caught.value.details == {"run_id": run.id}
        assert (await stage.store.runs.get(run.id)).status is Status.RUNNING


async def test_a_stop_tells_those_who_wait(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        run = await stage.begun(await stage.submit())
        waiting = asyncio.create_task(stage.engine.runs.wait_for_run(run.id, 60))
        await asyncio.sleep(0)
        await stage.engine.drain_runs(0)

        with pytest.raises(Unavailable) as caught:
            await waiting

        assert caught.value.details == {"run_id": run.id}


async def test_a_run_that_ends_while_a_wait_begins_is_not_missed(tmp_path: Path) -> None:
    async with staged(tmp_path, answering, agents={"main": {"max_concurrent": 64}}) as stage:
        runs = await asyncio.gather(*(stage.submit(session=f"main:test:{n}") for n in range(200)))
        ended = await asyncio.gather(*(stage.ended(run) for run in runs for _ in range(2)))

    assert {run.status for run in ended} == {Status.SUCCEEDED}


async def test_a_wait_for_a_run_that_nobody_knows_fails(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        with pytest.raises(RunNotFound):
            await stage.engine.runs.wait_for_run("nobody", 1)
        await asyncio.sleep(0)  # what was given up ends

        assert stage.engine._hub._ends == {}


async def test_a_wait_for_a_run_that_is_cancelled_in_the_queue_ends(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        await stage.submit()
        behind = await stage.submit()
        waiting = asyncio.create_task(stage.ended(behind))
        await asyncio.sleep(0)
        await stage.engine.runs.cancel_run(behind.id)

        assert (await waiting).status is Status.CANCELLED


# --- submitting and trying again --------------------------------------------------------------


async def test_the_same_key_gives_the_same_run(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        first = await stage.engine.runs.submit_run(spec(), key())
        second = await stage.engine.runs.submit_run(spec(), key())

    assert (first.run.id, first.is_new, second.is_new) == (second.run.id, True, False)


async def test_only_agents_that_are_there_and_enabled_take_work(tmp_path: Path) -> None:
    async with staged(tmp_path, agents={"main": {}, "off": {"enabled": False}}) as stage:
        with pytest.raises(AgentNotFound):
            await stage.submit(session="nobody:test:a")
        with pytest.raises(InvalidRequest):
            await stage.submit(session="off:test:a")


async def test_an_agent_can_be_interrupted_by_the_next_message(tmp_path: Path) -> None:
    agents = {"main": {"session_mode": SessionMode.INTERRUPT}}
    async with staged(tmp_path, hanging, agents=agents) as stage:
        first = await stage.begun(await stage.submit("think long"))
        second = await stage.submit("the next")
        ended = [await stage.ended(run) for run in (first, second)]

    assert [run.outcome for run in ended] == [Outcome.CANCELLED_BY_USER, Outcome.COMPLETED]


async def test_an_agent_can_refuse_what_meets_a_busy_session(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging, agents={"main": {"session_mode": SessionMode.REJECT}}) as stage:
        await stage.begun(await stage.submit())

        with pytest.raises(AgentBusy):
            await stage.submit()


async def test_a_failed_run_is_tried_again_as_a_new_one(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        failed = await stage.do(timeout=0.02)
        again = await stage.engine.runs.retry_run(failed.id)

        assert again.id != failed.id
        assert (again.spec.retry_of, again.spec.input) == (failed.id, failed.spec.input)
        assert (await stage.store.runs.get(failed.id)) == failed


async def test_what_succeeded_or_goes_on_is_not_tried_again(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        done = await stage.do()
        waiting = await stage.submit(run_at=1 << 50)
        for run in (done, waiting):
            with pytest.raises(Conflict):
                await stage.engine.runs.retry_run(run.id)


# --- cancelling -------------------------------------------------------------------------------


async def test_a_cancelled_run_makes_room_for_the_next(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        first = await stage.begun(await stage.submit())
        behind = await stage.submit("the next")
        await stage.engine.runs.cancel_run(first.id)

        assert (await stage.ended(behind)).status is Status.SUCCEEDED
        with pytest.raises(Conflict):
            await stage.engine.runs.cancel_run(first.id)


async def test_a_run_can_be_cancelled_at_any_moment(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging, agents={"main": {"max_concurrent": 50}}) as stage:
        for number in range(30):
            run = await stage.submit(session=f"main:test:{number}")
            for _ in range(number):
                await asyncio.sleep(0)
            await stage.engine.runs.cancel_run(run.id)

            assert (await stage.ended(run)).status is Status.CANCELLED


async def test_cancelling_by_a_prefix_cancels_that_run(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        run = await stage.begun(await stage.submit())
        await stage.engine.runs.cancel_run(run.id[:20].lower())

        assert (await stage.ended(run)).status is Status.CANCELLED


# --- watching ---------------------------------------------------------------------------------


async def test_a_run_is_watched_from_its_acceptance_to_its_end(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        run = await stage.submit()
        events = [event async for event in stage.engine.runs.watch_run(run.id)]

    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[-1].data, End)


# --- sessions in use --------------------------------------------------------------------------


async def test_a_session_at_work_is_not_deleted_unless_forced(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        run = await stage.begun(await stage.submit())
        behind = await stage.submit()
        with pytest.raises(Conflict):
            await stage.engine.sessions.delete_session(KEY, force=False)
        await stage.engine.sessions.delete_session(KEY, force=True)

        assert {(await stage.ended(one)).status for one in (run, behind)} == {Status.CANCELLED}
        assert await stage.store.sessions.find(KEY) is None


async def test_a_session_that_was_deleted_starts_again_without_history(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.do("old")
        await stage.engine.sessions.delete_session(KEY, force=False)
        await stage.do("new")

        assert [message.content for message in await stage.store.sessions.read_history(KEY, 10)] == ["new", "echo: new"]


async def test_a_start_finds_what_was_left_in_the_queue(tmp_path: Path) -> None:
    left = []

    async def leave(store: object) -> None:
        left.append((await store.runs.accept(spec())).run)  # type: ignore[attr-defined]

    async with staged(tmp_path, prepare=leave) as stage:
        assert (await stage.ended(left[0])).status is Status.SUCCEEDED


@pytest.mark.parametrize("name", ["owners.list", "agents.count_loads"])
async def test_a_disk_that_refuses_as_it_begins_to_lead_is_asked_again(tmp_path: Path, name: str) -> None:
    between = Between()
    between.refuse[name] = [Unavailable("the disk refuses.")]

    async with staged(tmp_path, wrap=between.around) as stage:
        assert (await stage.do("hello")).status is Status.SUCCEEDED
