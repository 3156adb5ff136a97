"""Many tasks at once: cancel or retry all that are named, or that a filter matches."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import fields
from gateway.api.routing import Call, Nothing, Routes
from gateway.api.task_filter import StatusFilter, read_filter
from gateway.domain.run import BatchAction, RunFilter
from gateway.domain.token import Scope
from gateway.engine.resources.run_batches import MAX_BATCH_RUNS
from gateway.errors import InvalidRequest

ROUTES = Routes("tasks")


class Batch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do, and to which tasks: either `ids` or `filter`."""

    #: what to do with them
    action: BatchAction
    #: the ids of up to 500 tasks, or any unique part of each
    ids: Annotated[list[fields.RunId], Meta(min_length=1, max_length=MAX_BATCH_RUNS)] | None = None
    #: the newest 500 tasks that match; those that cannot be cancelled or retried, or are already, do not count
    filter: StatusFilter | None = None


class RefusedTask(Struct, frozen=True, kw_only=True):
    """A task that is as it was."""

    #: its id
    id: str
    #: the reason, for people
    why: str


class BatchAnswer(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    #: ids of the tasks that are cancelled, were told to stop, or are retried
    changed: list[str]
    #: tasks that could not be changed
    refused: list[RefusedTask]
    #: whether the filter matches more tasks: send the request again, with a new Idempotency-Key
    more: bool


@ROUTES.add("POST", "/api/tasks/batch", scope=Scope.WRITE, body=Batch, answer=BatchAnswer)
async def change_tasks(call: Call[Batch, Nothing]) -> BatchAnswer:
    """Cancel or retry up to 500 tasks, each by the rules for one. Running ones are told to stop."""
    wanted = call.body
    if wanted.ids is not None and wanted.filter is None:
        chosen: list[str] | RunFilter = wanted.ids
    elif wanted.filter is not None and wanted.ids is None:
        chosen = await read_filter(call, wanted.filter)
    else:
        raise InvalidRequest("ids, filter: send one of the two.")
    # Shielded: if the client disconnects, the runs that are marked as cancelled must still be stopped.
    done = await asyncio.shield(call.engine.run_batches.change_runs(wanted.action, chosen, call.read_idempotency_key()))
    return BatchAnswer(
        changed=list(done.changed),
        refused=[RefusedTask(id=one.id, why=one.why) for one in done.refused],
        more=done.has_more,
    )
