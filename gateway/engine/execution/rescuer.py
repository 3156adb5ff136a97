"""Rescues runs whose owner has died: ends their processes first, then requeues or fails the runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway import log
from gateway.domain.ports.store import AgentProcess, Store
from gateway.engine.execution.owner import Owner
from gateway.process import orphans
from gateway.process.identity import Identity

#: returns those of some owners that have died
FindDeadOwners = Callable[[Sequence[str]], Awaitable[Sequence[str]]]

_log = log.get()


class StoreLedger:
    """Records the agent processes of one owner in the store."""

    def __init__(self, store: Store, owner: Owner) -> None:
        self._store = store
        self._owner = str(owner)

    async def record_process(self, who: Identity, run: str | None) -> None:
        await self._store.owners.record_process(AgentProcess(who=who, owner=self._owner, run=run))

    async def forget_process(self, who: Identity) -> None:
        await self._store.owners.forget_process(who)


async def find_dead_owners(owners: Sequence[str]) -> Sequence[str]:
    """Return those of some owners whose processes, on this machine, are gone."""
    return [text for text in owners if (owner := _parse_owner(text)) is None or not owner.is_alive]


async def has_other_owners(store: Store, me: Owner) -> bool:
    """Return whether another process still has runs or agent processes in this store."""
    return any(_parse_owner(text) != me for text in await store.owners.list())


def _parse_owner(text: str) -> Owner | None:
    """Return an owner; None if no serving process of ours has such a name: then it is as good as dead."""
    try:
        return Owner.parse_owner(text)
    except ValueError:
        return None


async def rescue_runs(store: Store, me: Owner, find_dead: FindDeadOwners = find_dead_owners) -> int:
    """Rescue all runs of owners that have died. Returns their number.

    A dead owner's agent processes are ended before its runs can be claimed again, so that an orphan and a retry
    never work at the same time. Those on another machine end when that machine notices that its lease has ended.
    """
    rescued = 0
    others = [text for text in await store.owners.list() if _parse_owner(text) != me]
    for text in await find_dead(others):
        await end_left_processes(store, text)
        for run in await store.owners.rescue_runs(text):
            rescued += 1
            _log.warning("rescue.run", run=run.id, status=run.status, attempt=run.attempt)
    return rescued


async def end_left_processes(store: Store, owner: str) -> None:
    """End the agent processes that an owner has left on this machine."""
    await asyncio.gather(*(_kill_process(store, left) for left in await store.owners.list_processes(owner)))
    await asyncio.to_thread(orphans.end_abandoned)  # what left the groups of these processes


async def _kill_process(store: Store, left: AgentProcess) -> None:
    killed = await asyncio.to_thread(orphans.kill_group, left.who)
    await store.owners.forget_process(left.who)
    _log.info("rescue.process", pid=left.who.pid, run=left.run, killed=killed)
