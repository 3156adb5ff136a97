"""Live events and changes as a limited caller follows them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing
from typing import TYPE_CHECKING, Any

from gateway.domain.event import Change, Event
from gateway.domain.ports.store import Store
from gateway.domain.reach import Reach
from gateway.domain.run import Run
from gateway.engine.hub import Hub
from gateway.engine.limited.refusal import make_refusal

if TYPE_CHECKING:
    import asyncio


class LimitedHub:
    """Follows the runs that are reached, and the changes that are about what is reached."""

    def __init__(self, hub: Hub, store: Store, reach: Reach) -> None:
        """Args: store: as the caller reaches it."""
        self._hub = hub
        self._store = store
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        raise make_refusal()

    async def follow_run(self, run: str, after: int = 0) -> AsyncGenerator[Event, None]:
        async with aclosing(self._hub.follow_run((await self._store.runs.get(run)).id, after)) as events:
            async for event in events:
                yield event

    def expect_end(self, run: str) -> AbstractContextManager[asyncio.Future[Run | None]]:
        """Return what `Hub.expect_end` does. Those who wait read the run first, from the limited store."""
        return self._hub.expect_end(run)

    async def follow_changes(self, after: int | None) -> AsyncGenerator[Change, None]:
        """Return a generator of the changes that are about what the caller reaches."""
        return self._choose_changes(await self._hub.follow_changes(after))

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
