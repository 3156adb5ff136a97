"""Explains why queued runs have not begun."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from msgspec import Struct

from gateway.domain import times
from gateway.domain.fleet import Destination
from gateway.domain.ports.store import Store
from gateway.domain.queue import RunBlockers, RunLimits
from gateway.domain.run import Run, Source, Status
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Agents

#: returns where those of some runs may begin that are dispatched to the workers of a fleet
FindDestinations = Callable[[Collection[str]], Awaitable[Mapping[str, Destination]]]


class WaitReason(Struct, frozen=True, kw_only=True):
    """What a queued run waits for."""

    #: for people
    text: str
    #: until when, in milliseconds since 1970 UTC; None if that is not known
    until: int | None = None


class QueueStatus:
    """Explains what queued runs wait for."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        limits: Callable[[], RunLimits],
        clock: Clock,
        find_destinations: FindDestinations | None = None,
    ) -> None:
        """Args: find_destinations: None without a fleet."""
        self._store = store
        self._agents = agents
        self._limits = limits
        self._clock = clock
        self._find_destinations = find_destinations

    def with_store(self, store: Store, agents: Agents) -> QueueStatus:
        """Return the same on top of another store."""
        return QueueStatus(store, agents, self._limits, self._clock, self._find_destinations)

    async def explain_waits(self, runs: Sequence[Run]) -> Mapping[str, WaitReason]:
        """Return what the queued ones of some runs wait for, by their ids. Runs that may begin now are left out."""
        queued = [run for run in runs if run.status is Status.QUEUED]
        dispatched = await self._explain_dispatched(queued)
        queued = [run for run in queued if run.id not in dispatched]
        limits = self._limits()
        blockers = await self._store.runs.find_blockers(queued, limits) if queued else {}
        found = {run.id: self._find_reason(run, blockers[run.id], limits) for run in queued}
        return dispatched | {id_: wait for id_, wait in found.items() if wait is not None}

    async def _explain_dispatched(self, queued: Sequence[Run]) -> dict[str, WaitReason]:
        """Return what those runs wait for that any worker may begin."""
        if self._find_destinations is None or not queued:
            return {}
        places = await self._find_destinations([run.id for run in queued])
        return {
            run.id: WaitReason(text=_explain_place(places[run.id], self._agents.display_name(run.spec.agent)))
            for run in queued
            if run.id in places
        }

    async def count_stranded_runs(self) -> Mapping[str, int]:
        """Return the number of queued runs of each agent that is disabled or no longer exists."""
        loads = await self._store.agents.count_loads()
        idle = [agent for agent, load in loads.items() if load.queued and agent not in self._agents.concurrency_limits]
        return {self._agents.display_name(agent): loads[agent].queued for agent in idle}

    def _find_reason(self, run: Run, blockers: RunBlockers, limits: RunLimits) -> WaitReason | None:
        name = self._agents.display_name(run.spec.agent)
        if blockers.not_before is not None and blockers.not_before > self._clock():
            return WaitReason(
                text=f"it must not begin before {times.format_rfc3339(blockers.not_before)}", until=blockers.not_before
            )
        if (idle := self._explain_idle_agent(run.spec.agent, name)) is not None:
            return WaitReason(text=idle)
        if blockers.earlier_run is not None:
            return WaitReason(text=f"the run {blockers.earlier_run} of its session goes first")
        most = limits.agents.get(run.spec.agent, 0)
        if self._find_destinations is not None and blockers.running_of_agent >= most:
            return WaitReason(text=f"the agent {name!r} takes {most} runs at a time: they run, or wait for a worker")
        if (full := _explain_full_limit(run, blockers, limits, name)) is not None:
            return WaitReason(text=full)
        if blockers.budget_wait is not None:
            return WaitReason(text=blockers.budget_wait, until=blockers.budget_resets_at)
        return None

    def _explain_idle_agent(self, agent_id: str, name: str) -> str | None:
        """Return why an agent begins no runs, or None if it does."""
        agent = self._agents.find_by_id(agent_id)
        if agent is None:
            return f"its agent {name!r} no longer exists: put it back into the config and restart, or cancel this task"
        return None if agent.enabled else f"its agent {name!r} is disabled: enable it, or cancel this task"


def _explain_place(place: Destination, name: str) -> str:
    """Return what a dispatched run waits for."""
    if place.host is not None:
        what = "a free worker on" if place.takers else "the return of"
        return f"it waits for {what} the host {place.host!r}, to which its session is bound"
    if place.takers:
        return "it waits for a free worker"
    return f"no worker runs its agent {name!r}: start one with gateway worker, or cancel this task"


def _explain_full_limit(run: Run, blockers: RunBlockers, limits: RunLimits, name: str) -> str | None:
    """Return which limit of concurrent runs is reached, or None."""
    most = limits.agents.get(run.spec.agent, 0)
    if blockers.running_of_agent >= most:
        return f"the agent {name!r} is at work on {blockers.running_of_agent} of {most} runs that it takes at a time"
    if blockers.running_in_all >= limits.total:
        return f"{blockers.running_in_all} of {limits.total} runs are at work, over all agents (limits.runs)"
    behind = run.spec.source is Source.BACKGROUND and limits.background is not None
    if behind and blockers.running_in_background >= (limits.background or 0):
        return (
            f"{blockers.running_in_background} of {limits.background} background tasks are at work (limits.background)"
        )
    return None
