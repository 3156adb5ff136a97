"""A leader whose server does not answer: it waits a moment, then ends its services, and begins again when it may."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.engine.fleet import leadership
from gateway.engine.fleet.leadership import Leadership
from gateway.errors import Unavailable
from harness.waiting import until
from tests.engine.fleet.members import Fleet
from tests.engine.stage import Stage


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "ELECTION_SECONDS", 0.02)
    monkeypatch.setattr(leadership, "REPLACEMENT_RETRY_SECONDS", 0.05)


class Away:
    """Lets a leader's looks at its lock, and at the fleet, fail for as long as a test wants."""

    def __init__(self, leads: Leadership, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_away = False
        self.failures = 0
        for what, name in ((leads._lock, "is_held"), (leads._lock, "try_acquire"), (leads._fleet, "find_dead_owners")):
            monkeypatch.setattr(what, name, self._wrap(getattr(what, name), name))

    def _wrap(self, act: Any, name: str) -> Any:
        async def fail_or_act(*given: Any) -> Any:
            if not self.is_away:
                return await act(*given)
            self.failures += 1
            if name == "is_held":  # it knows that its connection is broken
                return False
            raise Unavailable("the server is away.")

        return fail_or_act


async def find_leadership(stage: Stage, fleet: Fleet) -> Leadership:
    await until(lambda: fleet.execute("SELECT host FROM nodes WHERE leads = 1") == [("one",)], "it leads")
    assert stage.engine._fleet is not None
    return stage.engine._fleet._leadership


async def test_a_leader_that_is_cut_off_ends_its_services_and_is_replaced_when_it_is_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "STEP_DOWN_SECONDS", 0.1)
    async with fleet.member("one", slots=0) as one:
        leads = await find_leadership(one, fleet)
        lost: list[str] = []
        leads._on_lost = lambda: lost.append("one")
        await until(lambda: one.engine._scheduler._loop._task is not None, "its services have started")
        scheduling = one.engine._scheduler._loop._task
        assert scheduling is not None
        away = Away(leads, monkeypatch)
        away.is_away = True
        await until(scheduling.done, "its services have ended")
        before = away.failures
        await until(lambda: away.failures > before + 2, "it looks whether the server answers")
        assert lost == []

        away.is_away = False

        await until(lambda: len(lost) > 1, "another process is asked for, and once more if none has come")


async def test_a_leader_outlasts_a_short_break_of_its_server(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fleet.member("one", slots=0) as one:
        leads = await find_leadership(one, fleet)
        lost: list[str] = []
        leads._on_lost = lambda: lost.append("one")
        away = Away(leads, monkeypatch)
        away.is_away = True
        await until(lambda: away.failures > 3, "it cannot look at its lock")
        fleet.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 3")
        await until(lambda: count_locks(fleet) == 0, "the server has freed the lock")
        away.is_away = False

        await until(lambda: count_locks(fleet) == 1, "it holds the lock again")
        await asyncio.sleep(0.1)
        assert not leads._has_stepped_down
    assert lost == []


def count_locks(fleet: Fleet) -> int:
    return int(
        fleet.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 3")[0][0]
    )
