"""Cancels or retries many runs at once, each by the rules that hold for one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.ports.store import Store
from gateway.domain.run import BatchAction, RunBatch, RunFilter
from gateway.engine.resources.runs import Runs
from gateway.errors import GatewayError

#: runs that one request may change
MAX_BATCH_RUNS = 500
#: runs that are changed at the same time: the store commits them together
MAX_RUNS_AT_ONCE = 50


class RefusedRun(Struct, frozen=True):
    """A run that was not changed."""

    #: its id, as it was given
    id: str
    #: for people
    why: str


class BatchResult(Struct, frozen=True, kw_only=True):
    """What became of the runs of a batch."""

    #: ids of the runs that are cancelled, were told to stop or are retried
    changed: Sequence[str]
    refused: Sequence[RefusedRun]
    #: whether there are more that could be changed
    has_more: bool


class RunBatches:
    """Changes many runs."""

    def __init__(self, store: Store, runs: Runs) -> None:
        self._store = store
        self._changes = {BatchAction.CANCEL: runs.cancel_run, BatchAction.RETRY: runs.retry_run}

    async def change_runs(
        self, action: BatchAction, wanted: Sequence[str] | RunFilter, key: IdempotencyKey | None = None
    ) -> BatchResult:
        """Cancel or retry runs; those that the rules refuse are left as they are.

        Args:
            wanted: ids, or a filter. Of its runs, the newest are changed that the action can be done to, and was not.
            key: the same key changes the same runs, and none of them twice.

        Raises:
            Conflict: the key was used with another body.
        """
        chosen = await self._choose_runs(action, wanted, key)
        changed: list[str] = []
        refused: list[RefusedRun] = []
        for begin in range(0, len(chosen.ids), MAX_RUNS_AT_ONCE):
            some = chosen.ids[begin : begin + MAX_RUNS_AT_ONCE]
            for run_id, why in zip(
                some, await asyncio.gather(*(self._change(action, id_, key) for id_ in some)), strict=True
            ):
                if why is None:
                    changed.append(run_id)
                else:
                    refused.append(RefusedRun(run_id, why))
        # If all are refused, the same ones would be chosen again.
        return BatchResult(changed=changed, refused=refused, has_more=chosen.has_more and bool(changed))

    async def _choose_runs(
        self, action: BatchAction, wanted: Sequence[str] | RunFilter, key: IdempotencyKey | None
    ) -> RunBatch:
        """Return the runs to change; the same ones under the same key, although a filter finds others by then."""
        earlier = await self._store.runs.find_batch(key)
        if earlier is not None:
            return earlier
        if isinstance(wanted, RunFilter):
            statuses = action.statuses.intersection(wanted.statuses or action.statuses)
            which = msgspec.structs.replace(wanted, statuses=tuple(sorted(statuses)), open_to=action)
            found = await self._store.runs.list_ids(which, MAX_BATCH_RUNS + 1) if statuses else ()
            chosen = RunBatch(ids=tuple(found[-MAX_BATCH_RUNS:]), has_more=len(found) > MAX_BATCH_RUNS)
        else:
            chosen = RunBatch(ids=await self._keep_one_of_each(wanted))
        return chosen if key is None else await self._store.runs.remember_batch(chosen, key)

    async def _keep_one_of_each(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Return ids as they are given, without those of a run that an earlier one names: parts of an id are good."""
        kept: dict[str, str] = {}
        for given in dict.fromkeys(wanted):
            try:
                kept.setdefault((await self._store.runs.get(given)).id, given)
            except GatewayError:  # the change says why
                kept.setdefault(given, given)
        return tuple(kept.values())

    async def _change(self, action: BatchAction, run_id: str, key: IdempotencyKey | None) -> str | None:
        """Change one run. Returns why that is refused; None if it is done."""
        its_key = None if key is None else msgspec.structs.replace(key, key=f"{key.key} {run_id}")
        try:
            await self._changes[action](run_id, its_key)
        except GatewayError as error:
            return str(error)
        return None
