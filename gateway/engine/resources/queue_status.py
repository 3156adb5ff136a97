"""Why queued runs have not begun, in words."""

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

    #: in words
    why: str
    #: until when, in milliseconds since 1970 UTC; None where that is not known
    until: int | None = None


class Waiting:
    """Tells what queued runs wait for."""

    def __init__(self, store: Store, roster: Roster, limits: Callable[[], Limits], clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._limits = limits
        self._clock = clock

    async def waits(self, runs: Sequence[Run]) -> Mapping[str, Wait]:
        """Return what those of some runs wait for that are queued, by their ids; not those whose turn it is."""
        queued = [run for run in runs if run.status is Status.QUEUED]
        limits = self._limits()
        obstacles = await self._store.runs.find_blockers(queued, limits) if queued else {}
        found = {run.id: self._why(run, obstacles[run.id], limits) for run in queued}
        return {id_: wait for id_, wait in found.items() if wait is not None}

    async def stranded(self) -> Mapping[str, int]:
        """Return how many runs are queued for agents that work on none: they are disabled, or gone."""
        loads = await self._store.agents.count_loads()
        idle = [agent for agent, load in loads.items() if load.queued and agent not in self._roster.limits]
        return {self._roster.called(agent): loads[agent].queued for agent in idle}

    def _why(self, run: Run, before_it: Obstacles, limits: Limits) -> Wait | None:
        name = self._roster.called(run.spec.agent)
        if before_it.due is not None and before_it.due > self._clock():
            return Wait(why=f"it is not to begin before {times.rfc3339(before_it.due)}", until=before_it.due)
        if (idle := self._idle(run.spec.agent, name)) is not None:
            return Wait(why=idle)
        if before_it.before is not None:
            return Wait(why=f"the run {before_it.before} of its session goes first")
        if (full := _full(run, before_it, limits, name)) is not None:
            return Wait(why=full)
        if before_it.budget is not None:
            return Wait(why=before_it.budget, until=before_it.begins_anew)
        return None

    def _idle(self, agent_id: str, name: str) -> str | None:
        """Say why an agent works on nothing, if that is so."""
        agent = self._roster.get(agent_id)
        if agent is None:
            return f"its agent {name!r} is gone: put it back into the config and restart, or cancel this task"
        return None if agent.enabled else f"its agent {name!r} is disabled: enable it, or cancel this task"


def _full(run: Run, before_it: Obstacles, limits: Limits, name: str) -> str | None:
    """Say which limit of runs at the same time is reached, if one is."""
    most = limits.agents.get(run.spec.agent, 0)
    if before_it.working >= most:
        return f"the agent {name!r} is at work on {before_it.working} of {most} runs that it takes at a time"
    if before_it.total >= limits.total:
        return f"{before_it.total} of {limits.total} runs are at work, over all agents (limits.runs)"
    behind = run.spec.source is Source.BACKGROUND and limits.background is not None
    if behind and before_it.background >= (limits.background or 0):
        return f"{before_it.background} of {limits.background} background tasks are at work (limits.background)"
    return None
