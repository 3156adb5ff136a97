"""Explains why queued runs have not begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from gateway.domain import times
from gateway.domain.ports.store import Store
from gateway.domain.queue import Limits, Obstacles
from gateway.domain.run import Run, Source, Status
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Roster


class Wait(Struct, frozen=True, kw_only=True):
    """What a queued run waits for."""

    #: for people
    why: str
    #: until when, in milliseconds since 1970 UTC; None if that is not known
    until: int | None = None


class Waiting:
    """Explains what queued runs wait for."""

    def __init__(self, store: Store, agents: Roster, limits: Callable[[], Limits], clock: Clock) -> None:
        self._store = store
        self._agents = agents
        self._limits = limits
        self._clock = clock

    async def waits(self, runs: Sequence[Run]) -> Mapping[str, Wait]:
        """Return what the queued ones of some runs wait for, by their ids. Runs that may begin now are left out."""
        queued = [run for run in runs if run.status is Status.QUEUED]
        limits = self._limits()
        blockers = await self._store.runs.find_blockers(queued, limits) if queued else {}
        found = {run.id: self._why(run, blockers[run.id], limits) for run in queued}
        return {id_: wait for id_, wait in found.items() if wait is not None}

    async def stranded(self) -> Mapping[str, int]:
        """Return the number of queued runs of each agent that is disabled or no longer exists."""
        loads = await self._store.agents.count_loads()
        idle = [agent for agent, load in loads.items() if load.queued and agent not in self._agents.limits]
        return {self._agents.called(agent): loads[agent].queued for agent in idle}

    def _why(self, run: Run, blockers: Obstacles, limits: Limits) -> Wait | None:
        name = self._agents.called(run.spec.agent)
        if blockers.due is not None and blockers.due > self._clock():
            return Wait(why=f"it must not begin before {times.rfc3339(blockers.due)}", until=blockers.due)
        if (idle := self._idle(run.spec.agent, name)) is not None:
            return Wait(why=idle)
        if blockers.before is not None:
            return Wait(why=f"the run {blockers.before} of its session goes first")
        if (full := _full(run, blockers, limits, name)) is not None:
            return Wait(why=full)
        if blockers.budget is not None:
            return Wait(why=blockers.budget, until=blockers.begins_anew)
        return None

    def _idle(self, agent_id: str, name: str) -> str | None:
        """Return why an agent begins no runs, or None if it does."""
        agent = self._agents.get(agent_id)
        if agent is None:
            return f"its agent {name!r} no longer exists: put it back into the config and restart, or cancel this task"
        return None if agent.enabled else f"its agent {name!r} is disabled: enable it, or cancel this task"


def _full(run: Run, blockers: Obstacles, limits: Limits, name: str) -> str | None:
    """Return which limit of concurrent runs is reached, or None."""
    most = limits.agents.get(run.spec.agent, 0)
    if blockers.working >= most:
        return f"the agent {name!r} is at work on {blockers.working} of {most} runs that it takes at a time"
    if blockers.total >= limits.total:
        return f"{blockers.total} of {limits.total} runs are at work, over all agents (limits.runs)"
    behind = run.spec.source is Source.BACKGROUND and limits.background is not None
    if behind and blockers.background >= (limits.background or 0):
        return f"{blockers.background} of {limits.background} background tasks are at work (limits.background)"
    return None
