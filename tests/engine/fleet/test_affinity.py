"""Sessions whose agents keep files on a host stay there, and move when the host is gone."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.fleet import Role
from gateway.domain.run import Outcome, Status
from gateway.engine.fleet import leadership
from tests.engine.fleet.members import Fleet


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "ELECTION_SECONDS", 0.05)
    monkeypatch.setattr(leadership, "MENDING_SECONDS", 0.1)


async def test_a_session_stays_on_the_host_on_which_its_agent_keeps_files(fleet: Fleet) -> None:
    async with (
        fleet.member("gate", slots=0, keeps_files=True) as gate,
        fleet.member("one", role=Role.WORKER, keeps_files=True) as one,
        fleet.member("two", role=Role.WORKER, keeps_files=True) as two,
    ):
        for number in range(6):
            for session in ("a", "b", "c"):
                await gate.do(f"{number}", session=f"main:test:{session}")
        hosts = fleet.execute("SELECT key, host FROM sessions ORDER BY key")
        seen = {stage: {turn.session for turn in stage.backend.turns} for stage in (one, two)}

    assert seen[one].isdisjoint(seen[two])
    assert {host for _, host in hosts} <= {"one", "two"}


async def test_a_session_waits_for_its_host(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0, keeps_files=True) as gate:
        async with fleet.member("one", role=Role.WORKER, keeps_files=True):
            await gate.do("first")
        async with fleet.member("two", role=Role.WORKER, keeps_files=True) as two:
            run = await gate.submit("second")
            await gate.do("elsewhere", session="main:test:b")
            assert (await gate.store.runs.get(run.id)).status is Status.QUEUED
            assert [turn.input for turn in two.backend.turns] == ["elsewhere"]
        async with fleet.member("one", role=Role.WORKER, keeps_files=True):
            assert (await gate.ended(run)).outcome is Outcome.COMPLETED


async def test_a_session_moves_when_its_host_is_gone_for_good_and_says_so(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0, keeps_files=True, move_after=100) as gate:
        async with fleet.member("one", role=Role.WORKER, keeps_files=True):
            await gate.do("first")
        run = await gate.submit("second")
        fleet.execute("UPDATE hosts SET seen = 0 WHERE name = 'one'")
        async with fleet.member("two", role=Role.WORKER, keeps_files=True) as two:
            ended = await gate.ended(run)
        events = await gate.store.events.read_after(run.id, 0, 100)
        hosts = fleet.execute("SELECT host, moved_from FROM sessions")

    assert ended.outcome is Outcome.COMPLETED
    assert hosts == [("two", None)]
    (told,) = [event.data.message for event in events if event.kind == "log"]
    assert told.startswith("The host one is gone")
    assert two.backend.turns[0].session_ref is None


async def test_a_session_that_moves_leaves_its_workspace_on_its_host(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0, keeps_files=True, move_after=100) as gate:
        async with fleet.member("one", role=Role.WORKER, keeps_files=True) as one:
            run = await gate.do("first")
            left = await one.store.workspaces.open(run.spec.session, run.seq)
        fleet.execute("UPDATE hosts SET seen = 0 WHERE name = 'one'")
        async with fleet.member("two", role=Role.WORKER, keeps_files=True) as two:
            run = await gate.do("second")
            made = await two.store.workspaces.open(run.spec.session, run.seq)
        await gate.engine.sessions.delete_session(run.spec.session, force=False)
        assert not await gate.store.workspaces.list_released(), "it is another host's"
        kept = fleet.execute("SELECT name, host, released FROM workspaces ORDER BY released")

    assert kept == [(left, "one", 0), (made, "two", 1)]


async def test_a_host_that_nobody_could_see_is_given_its_time_once_more(fleet: Fleet) -> None:
    async with (
        fleet.member("gate", slots=0, keeps_files=True) as gate,
        fleet.member("one", role=Role.WORKER, keeps_files=True),
    ):
        await gate.do("first")
    fleet.execute("UPDATE hosts SET seen = 0")  # the whole fleet was away for long
    async with fleet.member("gate", slots=0, keeps_files=True) as gate:
        run = await gate.submit("second")
        await gate.store.fleet.restore_lost_jobs(None)
        await asyncio.sleep(0.3)  # the leader looks each 0.1 s
        assert fleet.execute("SELECT host FROM sessions") == [("one",)]
        async with fleet.member("one", role=Role.WORKER, keeps_files=True):
            assert (await gate.ended(run)).outcome is Outcome.COMPLETED


async def test_a_session_with_nothing_to_do_does_not_move(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0, keeps_files=True) as gate:
        async with fleet.member("one", role=Role.WORKER, keeps_files=True):
            await gate.do("first")
        fleet.execute("UPDATE hosts SET seen = 0 WHERE name = 'one'")
        await gate.store.fleet.restore_lost_jobs(0)

        assert fleet.execute("SELECT host FROM sessions") == [("one",)]


async def test_a_session_of_a_host_that_was_never_there_moves(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0, keeps_files=True, move_after=100) as gate:
        async with fleet.member("one", role=Role.WORKER, keeps_files=True):
            await gate.do("first")
        fleet.execute("UPDATE sessions SET host = 'desk'")  # as a copy of its store has it
        run = await gate.submit("second")
        async with fleet.member("two", role=Role.WORKER, keeps_files=True):
            assert (await gate.ended(run)).outcome is Outcome.COMPLETED


async def test_a_session_without_files_runs_anywhere(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate:
        async with fleet.member("one", role=Role.WORKER):
            await gate.do("first")
        async with fleet.member("two", role=Role.WORKER):
            assert (await gate.do("second")).outcome is Outcome.COMPLETED
