"""Makes the engine that a limited caller uses for one request."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator
from typing import Any, cast

from gateway.domain.event import Change, Event
from gateway.domain.ports.store import Store
from gateway.domain.reach import Reach
from gateway.engine.engine import Engine
from gateway.engine.limited.refusal import Opened, make_refusal
from gateway.engine.limited.store import LimitedStore
from gateway.engine.resources.assignments import Assignments
from gateway.engine.resources.run_batches import RunBatches
from gateway.engine.resources.run_lists import RunLists
from gateway.engine.resources.timelines import Timelines

#: methods of the engine that work on the limited store, and what says nothing of agents and sessions
_OPEN_NAMES = frozenset(
    (
        "submit_run",
        "release_run",
        "wait_for_run",
        "cancel_run",
        "retry_run",
        "get_run",
        "list_runs",
        "read_events",
        "drained",
        "is_in_fleet",
        "tokens",
    )
)
#: parts that read the store by one attribute, and the agents by another
_PARTS = ("permissions", "files", "sessions", "schedules", "deliveries", "queue_status")


class LimitedEngine:
    """The engine for a caller who reaches only some agents and sessions. What it does not have is refused."""

    def __init__(self, engine: Engine, reach: Reach) -> None:
        self._reach = reach
        store = cast("Store", LimitedStore(engine._store, reach, engine.schedules.find_session))
        inner = self._inner = copy.copy(engine)
        inner._store = store
        self.agents = inner.agents = engine.agents.limit_to(reach, store)
        parts = {name: copy.copy(getattr(engine, name)) for name in _PARTS}
        for part in parts.values():
            part._store = store
            if hasattr(part, "_agents"):
                part._agents = self.agents
        parts["schedules"]._sessions = parts["sessions"]
        self.permissions, self.files, self.sessions = parts["permissions"], parts["files"], parts["sessions"]
        self.schedules, self.deliveries = parts["schedules"], parts["deliveries"]
        self.queue_status = parts["queue_status"]
        self.run_lists = RunLists(store)
        self.timelines = Timelines(store, engine._clock)
        self.run_batches = RunBatches(store, inner.cancel_run, inner.retry_run)
        self.assignments = Assignments(self.agents, inner.submit_run)
        self.channels = Opened(engine.channels, ("sends_replies", "current_session_key"))

    def __getattr__(self, name: str) -> Any:
        if name not in _OPEN_NAMES:
            raise make_refusal()
        return getattr(self._inner, name)

    async def watch_run(self, run_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        run = await self._inner.get_run(run_id)
        async for event in self._inner.watch_run(run.id, after):
            yield event

    async def follow_changes(self, after: int | None) -> AsyncGenerator[Change, None]:
        """Return a generator of the changes that are about what the caller reaches."""
        return self._choose_changes(await self._inner.follow_changes(after))

    async def _choose_changes(self, changes: Any) -> AsyncGenerator[Change, None]:
        async for change in changes:
            if self._covers_change(change):
                yield change

    def _covers_change(self, change: Change) -> bool:
        if change.session:
            return self._reach.covers_session(change.session)
        if change.topic == "agent":
            return self._reach.covers_agent(change.agent)
        # A schedule of an agent may go into any of its sessions: only a caller who reaches them all is told.
        return bool(change.agent) and self._reach.sessions is None and self._reach.covers_agent(change.agent)


def limit_engine(engine: Engine, reach: Reach) -> Engine:
    """Return the engine as a limited caller uses it; it refuses what it does not have."""
    return cast("Engine", LimitedEngine(engine, reach))
