"""Runs whose owner has died: their processes are ended, then they are tried again."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.domain.ports.store import AgentProcess
from gateway.domain.run import OnInterrupt, Outcome, Run, Status
from gateway.engine.execution.owner import Owner
from gateway.engine.execution.rescuer import StoreLedger, rescue_runs
from gateway.process import identity, orphans
from gateway.process.identity import Identity
from gateway.store.sql.store import SqlStore
from harness.waiting import PATIENCE
from tests.contracts.stores import LIMITS, spec
from tests.engine.stage import dead, me, open_store, staged

pytestmark = [pytest.mark.both_stores, pytest.mark.skipif(sys.platform == "win32", reason="process groups")]

#: seconds in which a process that was killed is gone
TO_DIE_SECONDS = 5.0


@pytest.fixture
def orphan() -> Iterator[Callable[[], Identity]]:
    """Starts processes in their own groups, like agents."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> Identity:
        started.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
        who = identity.identify_process(started[-1].pid)
        assert who is not None
        return who

    yield start
    for process in started:
        process.kill()
        process.wait()


async def left_by(store: SqlStore, owner: Owner, *processes: Identity, **fields: object) -> Run:
    """Leave a run as a killed gateway leaves it."""
    await store.runs.accept(spec(**fields))  # type: ignore[arg-type]
    (run,) = await store.runs.claim(str(owner), LIMITS)
    for who in processes:
        await store.owners.record_process(AgentProcess(who=who, owner=str(owner), run=run.id))
    return run


async def test_a_run_of_a_dead_gateway_is_finished(tmp_path: Path) -> None:
    left: list[Run] = []

    async def leave(store: SqlStore) -> None:
        left.append(await left_by(store, dead()))

    async with staged(tmp_path, prepare=leave) as stage:
        ended = await stage.ended(left[0])

    assert (ended.status, ended.attempt) == (Status.SUCCEEDED, 2)


async def test_a_run_of_a_gateway_that_lives_is_left_alone(tmp_path: Path) -> None:
    alive = Owner("another instance", identity.own_identity())
    left: list[Run] = []

    async def leave(store: SqlStore) -> None:
        left.append(await left_by(store, alive))

    async with staged(tmp_path, prepare=leave) as stage:
        await stage.do(session="main:test:elsewhere")

        assert await stage.store.runs.get(left[0].id) == left[0]


async def test_a_pid_from_before_a_reboot_is_not_an_owner(tmp_path: Path) -> None:
    rebooted = Owner("before", identity.own_identity()._replace(boot="another boot"))
    store = open_store(tmp_path)
    run = await left_by(store, rebooted)

    assert await rescue_runs(store, me()) == 1

    assert (await store.runs.get(run.id)).status is Status.QUEUED
    await store.close()


async def test_processes_are_ended_before_their_run_can_be_claimed(
    tmp_path: Path, orphan: Callable[[], Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    processes = [orphan(), orphan()]
    run = await left_by(store, dead(), *processes)
    order: list[str] = []
    kill, save = orphans.kill_group, store.owners.rescue_runs

    def killing(who: Identity) -> bool:
        killed = kill(who)
        order.append(f"killed {who.pid} {identity.is_alive(who)}")
        return killed

    async def rescuing(owner: str) -> object:
        order.append("rescue")
        return await save(owner)

    monkeypatch.setattr(orphans, "kill_group", killing)
    monkeypatch.setattr(store.owners, "rescue_runs", rescuing)
    await rescue_runs(store, me())

    assert order[-1] == "rescue"
    assert sorted(order[:-1]) == sorted(f"killed {who.pid} False" for who in processes)
    assert (await store.runs.get(run.id)).status is Status.QUEUED
    assert list(await store.owners.list()) == []
    await store.close()


async def test_what_left_the_group_of_a_recorded_process_is_ended_before_its_run_can_be_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that called `setsid` must not work beside the retry. Any gateway on this machine ends it sooner or later:
    so what counts is that it was killed before its run is set free.
    """
    store = open_store(tmp_path)
    who = dead()
    run = await left_by(store, who)
    mark = f"{who.process}/abc"
    ends: list[int] = []
    save = store.owners.rescue_runs

    async def rescuing(owner: str) -> object:
        ends.append(stray.wait(TO_DIE_SECONDS))
        return await save(owner)

    monkeypatch.setattr(store.owners, "rescue_runs", rescuing)
    with subprocess.Popen(["sleep", "600"], start_new_session=True, env={orphans.MARK_VARIABLE: mark}) as stray:
        try:
            await rescue_runs(store, me())
        finally:
            stray.kill()

    assert ends == [-signal.SIGKILL]
    assert (await store.runs.get(run.id)).status is Status.QUEUED
    await store.close()


async def test_a_process_that_has_a_recorded_pid_by_chance_is_not_touched(
    tmp_path: Path, orphan: Callable[[], Identity]
) -> None:
    store = open_store(tmp_path)
    innocent = orphan()
    await left_by(store, dead(), innocent._replace(started="1"), innocent._replace(boot="before"))

    await rescue_runs(store, me())

    assert identity.is_alive(innocent)
    assert list(await store.owners.list()) == []
    await store.close()


async def test_the_rest_of_a_group_whose_leader_has_ended_is_ended(tmp_path: Path) -> None:
    script = "sleep 600 >&2 & echo $!; read line"
    pipe = subprocess.PIPE
    leader = subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True, stdin=pipe, stdout=pipe)
    assert leader.stdout is not None
    assert leader.stdin is not None
    member = identity.identify_process(int(leader.stdout.readline()))
    who = identity.identify_process(leader.pid)
    assert member is not None
    assert who is not None
    leader.communicate(b"\n")
    store = open_store(tmp_path)
    await left_by(store, dead(), who)

    await rescue_runs(store, me())

    assert not identity.is_alive(member)
    await store.close()


async def test_a_server_without_a_run_is_ended_too(tmp_path: Path, orphan: Callable[[], Identity]) -> None:
    store = open_store(tmp_path)
    server = orphan()
    await StoreLedger(store, dead()).record_process(server, None)

    await rescue_runs(store, me())

    assert not identity.is_alive(server)
    await store.close()


async def test_orphans_are_not_waited_for_until_they_are_reaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the gateway starts again, no process has reaped them yet."""
    monkeypatch.setattr(orphans, "kill_group", functools.partial(orphans.kill_group, wait=2 * PATIENCE))
    store = open_store(tmp_path)
    children = [subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(20)]
    who = [identity.identify_process(process.pid) for process in children]
    await left_by(store, dead(), *(one for one in who if one is not None))

    async with asyncio.timeout(PATIENCE):
        await rescue_runs(store, me())

    await store.close()
    assert {process.wait() for process in children} == {-signal.SIGKILL}


async def test_a_run_that_must_not_be_tried_again_has_failed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    run = await left_by(store, dead(), on_interrupt=OnInterrupt.FAIL)

    await rescue_runs(store, me())

    assert (await store.runs.get(run.id)).outcome is Outcome.INTERRUPTED
    await store.close()


async def test_a_run_that_kills_its_gateway_each_time_ends_as_failed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    run = await left_by(store, dead("1"))
    for number in (2, 3):
        await rescue_runs(store, me())
        await store.runs.claim(str(dead(str(number))), LIMITS)
    await rescue_runs(store, me())

    ended = await store.runs.get(run.id)
    assert (ended.status, ended.attempt, ended.outcome) == (Status.FAILED, 3, Outcome.INTERRUPTED)
    await store.close()


def test_an_owner_is_read_back_as_it_was_written() -> None:
    owner = Owner("a-b", Identity(os.getpid(), "12", "boot/id"))

    assert Owner.parse_owner(str(owner)) == owner
