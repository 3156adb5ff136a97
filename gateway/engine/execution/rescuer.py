"""Runs whose owner is gone: first their processes are ended, then they are queued again or failed."""

from __future__ import annotations

import asyncio

from gateway import log
from gateway.domain.ports.store import AgentProcess, Store
from gateway.engine.execution.owner import Owner
from gateway.process import child
from gateway.process.identity import Identity

_log = log.get()


class StoreLedger:
    """The ledger of agent processes, in the store, under one owner."""

    def __init__(self, store: Store, owner: Owner) -> None:
        self._store = store
        self._owner = str(owner)

    async def record(self, who: Identity, run: str | None) -> None:
        await self._store.owners.record_process(AgentProcess(who=who, owner=self._owner, run=run))

    async def forget(self, who: Identity) -> None:
        await self._store.owners.forget_process(who)


async def others(store: Store, me: Owner) -> bool:
    """Tell whether another process still has runs or agent processes in this store."""
    return any(Owner.parse(text) != me for text in await store.owners.list())


async def rescue(store: Store, me: Owner) -> int:
    """Rescue all runs of owners that are gone; returns how many.

    No orphan works beside a retry: a dead owner's agent processes are ended before any of its
    runs can be claimed again.
    """
    rescued = 0
    for text in await store.owners.list():
        owner = Owner.parse(text)
        if owner == me or owner.alive:
            continue
        await asyncio.gather(*(_end(store, left) for left in await store.owners.list_processes(text)))
        for run in await store.owners.rescue_runs(text):
            rescued += 1
            _log.warning("rescue.run", run=run.id, status=run.status, attempt=run.attempt)
    return rescued


async def _end(store: Store, left: AgentProcess) -> None:
    killed = await asyncio.to_thread(child.kill_group, left.who)
    await store.owners.forget_process(left.who)
    _log.info("rescue.process", pid=left.who.pid, run=left.run, killed=killed)
