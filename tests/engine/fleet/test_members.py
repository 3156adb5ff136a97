"""Members that die, are stopped or cut off, and what the others do then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.domain.fleet import Role
from gateway.domain.ports.backend import Turn, TurnOutput
from gateway.domain.run import Outcome
from gateway.domain.token import Scope
from gateway.engine.background import peer_process
from gateway.engine.execution.attempt import Interrupt
from gateway.engine.fleet import leadership, membership
from gateway.errors import Unavailable
from harness.waiting import PATIENCE, until
from tests.engine.fleet.members import Fleet
from tests.engine.stage import Stage, answering, hanging

#: the connection that has the lock of the leader
_HOLDER = "pg_locks WHERE locktype = 'advisory' AND objid = 3 AND granted"


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "ELECTION_SECONDS", 0.05)
    monkeypatch.setattr(leadership, "MENDING_SECONDS", 0.1)
    monkeypatch.setattr(peer_process, "RESCUE_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(peer_process, "RELOAD_INTERVAL_SECONDS", 0.05)


class Once:
    """An agent that hangs at its first turn, wherever that is, and answers each later one."""

    def __init__(self) -> None:
        self._has_begun = False

    async def __call__(self, turn: Turn) -> AsyncGenerator[TurnOutput, None]:
        act = answering if self._has_begun else hanging
        self._has_begun = True
        async for said in act(turn):
            yield said


class Leader:
    """A member that leads, and that tries to have its lock again only when a condition holds."""

    def __init__(self, fleet: Fleet, stage: Stage, may_try: Callable[[], bool]) -> None:
        assert stage.engine._fleet is not None
        self._fleet = fleet
        self._may_try = may_try
        self._leadership = stage.engine._fleet._leadership
        self._acquire = self._leadership._lock.try_acquire
        #: how often another member led in place of this one
        self.losses = 0
        self._leadership._on_lost = self._count_loss
        self._leadership._lock.try_acquire = self._acquire_late  # type: ignore[method-assign]

    def break_connection(self) -> None:
        """Have the server end the connection that has the lock."""
        self._fleet.execute(f"SELECT pg_terminate_backend(pid) FROM {_HOLDER}")

    def _count_loss(self) -> None:
        self.losses += 1

    async def _acquire_late(self) -> bool:
        await until(self._may_try, "it may try")
        return await self._acquire()


def find_leaders(fleet: Fleet) -> list[str]:
    return [host for (host,) in fleet.execute("SELECT host FROM nodes WHERE leads = 1")]


async def test_the_runs_of_a_member_whose_lease_has_ended_begin_elsewhere(fleet: Fleet) -> None:
    act = Once()
    async with fleet.member("gate", slots=0) as gate, fleet.member("lost", act, role=Role.WORKER) as lost:
        run = await gate.said(await gate.submit("hello"))
        async with fleet.member("other", act, role=Role.WORKER):
            await lost.engine._source.stop()  # a member that is cut off takes no jobs either
            await until(lambda: fleet.execute("SELECT slots FROM nodes WHERE host = 'lost'") == [(0,)], "it says so")
            fleet.execute("UPDATE nodes SET lease = 0 WHERE host = 'lost'")
            ended = await gate.ended(run)

    assert (ended.outcome, ended.attempt, ended.result) == (Outcome.COMPLETED, 2, "echo: hello")


async def test_a_member_whose_lease_ended_stops_its_agents_when_it_is_back(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate, fleet.member("back", hanging, role=Role.WORKER) as back:
        run = await gate.said(await gate.submit("hello"))
        fleet.execute("UPDATE nodes SET lease = 0 WHERE host = 'back'")
        attempt = back.engine._worker._attempts[run.id]
        assert back.engine._fleet is not None
        await back.engine._fleet._membership._take_lease()

        assert attempt.interrupted_by is Interrupt.FENCED


async def test_a_member_that_cannot_renew_its_lease_ends_its_agents_in_time(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "LEASE_RENEWAL_SECONDS", 0.02)
    monkeypatch.setattr(membership, "RENEWAL_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(membership, "SELF_FENCE_SECONDS", 0.2)
    is_away = False

    class Away:
        def __init__(self, store: Any) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def renew_lease(self, *given: Any) -> bool:
            if is_away:
                raise Unavailable("the server is away.")
            renewed: bool = await self._store.renew_lease(*given)
            return renewed

    async with fleet.member("one", hanging, wrap=Away) as one:
        run = await one.said(await one.submit("hello"))
        attempt = one.engine._worker._attempts[run.id]
        is_away = True
        await until(lambda: attempt.interrupted_by is Interrupt.FENCED, "its agent is ended")
        is_away = False


async def test_a_run_whose_job_is_lost_is_dispatched_again(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate:
        run = await gate.submit("hello")
        fleet.execute("DELETE FROM procrastinate_jobs")
        async with fleet.member("hand", role=Role.WORKER):
            assert (await gate.ended(run)).outcome is Outcome.COMPLETED


async def test_another_gateway_leads_when_the_leader_is_gone(fleet: Fleet) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(fleet.member("first"))
        await until(lambda: fleet.execute("SELECT host FROM nodes WHERE leads = 1") == [("first",)], "it leads")
        second = await stack.enter_async_context(fleet.member("second"))
        await first.engine.step_down()
        await until(lambda: fleet.execute("SELECT host FROM nodes WHERE leads = 1") == [("second",)], "it leads")

        assert (await second.do("hello")).outcome is Outcome.COMPLETED


async def test_a_worker_never_leads(fleet: Fleet) -> None:
    async with fleet.member("hand", role=Role.WORKER):
        await asyncio.sleep(0.3)

        assert fleet.execute("SELECT leads FROM nodes") == [(0,)]


async def test_a_leader_that_lost_its_lock_begins_again_when_another_has_it(fleet: Fleet) -> None:
    async with fleet.member("one") as one:
        await until(lambda: find_leaders(fleet) == ["one"], "it leads")
        leader = Leader(fleet, one, lambda: find_leaders(fleet) == ["two"])
        async with fleet.member("two"):
            leader.break_connection()
            await until(lambda: leader.losses, "it begins again")

            assert find_leaders(fleet) == ["two"]


async def test_a_leader_whose_connection_broke_leads_on_when_nobody_else_has_the_lock(fleet: Fleet) -> None:
    async with fleet.member("one") as one:
        await until(lambda: find_leaders(fleet) == ["one"], "it leads")
        before = fleet.execute(f"SELECT pid FROM {_HOLDER}")
        leader = Leader(fleet, one, lambda: fleet.execute(f"SELECT pid FROM {_HOLDER}") == [])
        leader.break_connection()
        await until(lambda: fleet.execute(f"SELECT pid FROM {_HOLDER}") not in ([], before), "it has the lock again")

        assert (await one.do("hello")).outcome is Outcome.COMPLETED
        assert (leader.losses, find_leaders(fleet)) == (0, ["one"])


async def test_a_token_that_was_revoked_on_one_member_is_refused_by_the_others(fleet: Fleet) -> None:
    async with fleet.member("one", token="own") as one, fleet.member("two", token="own") as two:
        secret = (await one.engine.tokens.create_token("reader", Scope.READ, None)).encode()
        await until(lambda: two.engine.tokens.authenticate_token(secret) is not None, "the other knows it")
        await one.engine.tokens.revoke_token("reader")
        await until(lambda: two.engine.tokens.authenticate_token(secret) is None, "the other knows it no more")


async def test_a_watch_sees_what_another_member_does(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate, fleet.member("hand", role=Role.WORKER):
        run = await gate.submit("hello")
        async with asyncio.timeout(PATIENCE):
            seen = [event.kind async for event in gate.engine.runs.watch_run(run.id)]

    assert seen == ["status", "status", "text", "end"]


async def test_a_member_whose_machine_has_slept_ends_its_agents(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "FENCE_CHECK_SECONDS", 0.02)
    async with fleet.member("one", hanging) as one:
        run = await one.said(await one.submit("hello"))
        attempt = one.engine._worker._attempts[run.id]
        now = membership._read_clock
        monkeypatch.setattr(membership, "_read_clock", lambda: now() + membership.SELF_FENCE_SECONDS)
        await until(lambda: attempt.interrupted_by is Interrupt.FENCED, "its agent is ended")


async def test_a_leader_looks_at_its_lock_while_its_services_start(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with fleet.member("one", slots=0) as one:
        await until(lambda: fleet.execute("SELECT host FROM nodes WHERE leads = 1") == [("one",)], "it leads")
        async with fleet.member("two", slots=0) as two:
            assert two.engine._fleet is not None
            leadership_of_two = two.engine._fleet._leadership
            leadership_of_two._lead = hang
            await one.engine.step_down()
            async with asyncio.timeout(PATIENCE):
                await begun.wait()
            looks: list[bool] = []
            is_held = leadership_of_two._lock.is_held

            async def look() -> bool:
                looks.append(await is_held())
                return looks[-1]

            monkeypatch.setattr(leadership_of_two._lock, "is_held", look)
            await until(lambda: len(looks) > 2, "it looks at its lock")
            assert looks[0]


async def test_a_leader_whose_services_do_not_start_lets_another_lead(fleet: Fleet) -> None:
    async def break_off() -> None:
        raise RuntimeError("a bug")

    async with fleet.member("one", slots=0) as one:
        await until(lambda: fleet.execute("SELECT host FROM nodes WHERE leads = 1") == [("one",)], "it leads")
        async with fleet.member("two", slots=0) as two:
            assert two.engine._fleet is not None
            lost: list[str] = []
            two.engine._fleet._leadership._lead = break_off
            two.engine._fleet._leadership._on_lost = lambda: lost.append("two")
            await one.engine.step_down()
            await until(lambda: lost, "it begins again")


async def test_a_claim_that_breaks_is_told_and_its_slot_is_free_again(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    class Breaking:
        def __init__(self, store: Any) -> None:
            self._store = store
            self.breaks = True

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def claim(self, *given: Any) -> bool:
            if self.breaks:
                self.breaks = False
                raise RuntimeError("a bug")
            claimed: bool = await self._store.claim(*given)
            return claimed

    async with fleet.member("one", slots=1, wrap=Breaking) as one:
        assert (await one.do("hello")).outcome is Outcome.COMPLETED

    assert "fleet.cannot_claim" in capsys.readouterr().out


async def test_a_host_name_that_another_member_has_is_told(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    async with fleet.member("one"):
        fleet.execute(
            "INSERT INTO nodes (name, host, role, version, agents, slots, started, lease)"
            " SELECT 'namesake', host, role, version, agents, slots, started, lease FROM nodes"
        )
        capsys.readouterr()
        async with fleet.member("one", role=Role.WORKER):
            assert "fleet.host_name_taken" in capsys.readouterr().out
