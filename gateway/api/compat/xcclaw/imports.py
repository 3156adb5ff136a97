"""Takes over what XCClaw has in its files: schedules, persistent sessions and tasks. No task is executed.

An entry that was imported earlier stays as it is. Each entry is stored as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct, field

from gateway.api import fields
from gateway.api.body import BodyLimit
from gateway.api.compat.xcclaw.wire import (
    SCHEDULED_CHAT,
    XCCLAW_CHANNEL,
    TaskType,
    build_run_spec,
    build_schedule_spec,
)
from gateway.api.routing import Call, Routes, ServerContext
from gateway.domain import ids, times
from gateway.domain.audit import AuditAction
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.run import Outcome, Run, Status
from gateway.domain.session import Message, Role, SessionKey
from gateway.domain.token import Scope
from gateway.engine.resources.named_sessions import NamedSession
from gateway.errors import AgentNotFound, Conflict, GatewayError, InvalidRequest, SessionNotFound

ROUTES = Routes("xcclaw")

#: entries of a kind in one request
MAX_IMPORTED_ENTRIES = 100
MAX_IMPORT_BYTES = 8 << 20
#: messages of one imported session
MAX_IMPORTED_MESSAGES = 100_000
#: milliseconds for which it is known which run an imported task became: 100 years
IMPORT_KEY_LIFETIME_MS = 100 * 365 * 86_400_000
#: milliseconds since 1970 UTC at the end of the year 9998: later times cannot be shown in each time zone
LAST_IMPORTED_TIME_MS = 253_370_764_800_000

E = TypeVar("E", bound="Struct")

#: an id of the other system
ForeignId = Annotated[str, Meta(min_length=1, max_length=256)]
Moment = Annotated[datetime, Meta(tz=True)]


class TaskState(StrEnum):
    #: it waits until somebody executes it
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"


#: how a run is stored that ended like this there
_ENDS = {
    TaskState.COMPLETED: (Status.SUCCEEDED, Outcome.COMPLETED),
    TaskState.FAILED: (Status.FAILED, Outcome.AGENT_ERROR),
    TaskState.ABORTED: (Status.CANCELLED, Outcome.CANCELLED_BY_USER),
}


class ImportedSchedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule of XCClaw."""

    #: its id, which it keeps if a path can have it
    id: ForeignId
    #: the name that people see
    name: Annotated[str, Meta(max_length=100, pattern=fields.SHOWN_NAME_PATTERN)] = ""
    #: a cron expression, in the time zone `cron.timezone`
    cron: str
    #: what the agent is told
    prompt: fields.Prompt
    #: whether it starts runs
    enabled: bool = True


class ImportedMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message of a persistent session."""

    #: who said it
    role: Role
    #: what was said
    content: str
    #: the time of the session when left out
    at: Moment | None = None


class ImportedSession(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A persistent session of XCClaw, with its transcript."""

    #: its id, which it keeps if a path can have it
    id: ForeignId
    #: its name
    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=fields.SHOWN_NAME_PATTERN)]
    #: now when left out
    created_at: Moment | None = None
    #: oldest first
    messages: Annotated[list[ImportedMessage], Meta(max_length=MAX_IMPORTED_MESSAGES)] = field(default_factory=list)


class ImportedTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task of XCClaw. It is not executed."""

    #: its id there; it gets a new one here
    id: ForeignId
    #: what its session is: its own, one that is kept, or that of schedules
    type: TaskType = TaskType.EPHEMERAL
    #: what the agent is told
    prompt: fields.Prompt
    #: `pending` waits until somebody executes it
    status: TaskState
    #: id of its session there; a session of its own when left out
    session_id: ForeignId | None = None
    #: the answer; null if there is none
    result: str | None = None
    error: str | None = None
    #: the earliest of the other times, or now, when left out
    created_at: Moment | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None


class ImportRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to import: up to 100 entries of each kind."""

    schedules: Annotated[list[ImportedSchedule], Meta(max_length=MAX_IMPORTED_ENTRIES)] = field(default_factory=list)
    sessions: Annotated[list[ImportedSession], Meta(max_length=MAX_IMPORTED_ENTRIES)] = field(default_factory=list)
    tasks: Annotated[list[ImportedTask], Meta(max_length=MAX_IMPORTED_ENTRIES)] = field(default_factory=list)


class DryRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: check the entries, and store nothing
    dry_run: bool = False


class ImportState(StrEnum):
    IMPORTED = "imported"
    #: it was imported earlier, or comes from here; nothing was changed
    PRESENT = "present"
    #: it cannot be stored; the reason says why
    REFUSED = "refused"


class ImportOutcome(Struct, frozen=True, kw_only=True):
    #: `imported`; `present` if it was here already; or `refused`
    state: ImportState
    #: why it was refused
    reason: str | None = None


class ImportAnswer(Struct, frozen=True, kw_only=True):
    """What became of each entry, in the order of the request."""

    schedules: list[ImportOutcome]
    sessions: list[ImportOutcome]
    tasks: list[ImportOutcome]


def limit_import_body(request: web.Request, server: ServerContext) -> BodyLimit:
    """Return the limit of an import; transcripts are larger than most bodies."""
    return BodyLimit(MAX_IMPORT_BYTES, None)


@ROUTES.add(
    "POST",
    "/api/import",
    scope=Scope.ADMIN,
    body=ImportRequest,
    query=DryRun,
    answer=ImportAnswer,
    body_limit=limit_import_body,
)
async def import_xcclaw_entries(call: Call[ImportRequest, DryRun]) -> ImportAnswer:
    """Import schedules, sessions and tasks of XCClaw; entries that were imported earlier stay as they are."""
    call.read_idempotency_key()  # only checked: the ids of the entries already make a repetition harmless
    answer = ImportAnswer(
        schedules=await _import_each(call, call.body.schedules, _import_schedule),
        sessions=await _import_each(call, call.body.sessions, _import_session),
        tasks=await _import_each(call, call.body.tasks, _import_task),
    )
    outcomes = [*answer.schedules, *answer.sessions, *answer.tasks]
    imported = sum(one.state is ImportState.IMPORTED for one in outcomes)
    if imported and not call.query.dry_run:
        await call.engine.audit.add(AuditAction.DATA_IMPORTED, "xcclaw", imported=str(imported))
    return answer


async def _import_each(
    call: Call[ImportRequest, DryRun],
    entries: Sequence[E],
    import_entry: Callable[[Call[ImportRequest, DryRun], E], Awaitable[bool]],
) -> list[ImportOutcome]:
    outcomes = []
    for entry in entries:
        try:
            is_new = await import_entry(call, entry)
        except (InvalidRequest, Conflict, AgentNotFound) as error:
            outcomes.append(ImportOutcome(state=ImportState.REFUSED, reason=_explain_refusal(error)))
        else:
            outcomes.append(ImportOutcome(state=ImportState.IMPORTED if is_new else ImportState.PRESENT))
    return outcomes


def _explain_refusal(error: GatewayError) -> str:
    """Return why an entry was refused; XCClaw calls the times of a schedule `cron`."""
    return re.sub("^schedule: ", "cron: ", str(error))


async def _import_schedule(call: Call[ImportRequest, DryRun], entry: ImportedSchedule) -> bool:
    identifier = _choose_slug(entry.id)
    spec = build_schedule_spec(call, identifier, entry.name, entry.cron, entry.prompt)
    return await call.engine.schedules.import_schedule(
        spec, identifier, enabled=entry.enabled, dry_run=call.query.dry_run
    )


async def _import_session(call: Call[ImportRequest, DryRun], entry: ImportedSession) -> bool:
    identifier, now = _choose_slug(entry.id), call.server.clock()
    created = now if entry.created_at is None else _to_stored_time("created_at", entry.created_at)
    key = str(SessionKey.from_parts(call.engine.agents.default_agent.id, XCCLAW_CHANNEL, identifier))
    messages: list[Message] = []
    turn = ""
    for number, one in enumerate(entry.messages):
        if one.role is Role.USER or not turn:
            turn = ids.make_ulid(now)  # there is no run of that turn; what belongs together has the same id
        at = created if one.at is None else _to_stored_time(f"messages[{number}].at", one.at)
        messages.append(Message(role=one.role, content=one.content, at=at, run=turn))
    made = NamedSession(id=identifier, name=entry.name, key=key, created=created)
    return await call.engine.named_sessions.import_session(XCCLAW_CHANNEL, made, messages, dry_run=call.query.dry_run)


async def _import_task(call: Call[ImportRequest, DryRun], entry: ImportedTask) -> bool:
    key = IdempotencyKey(scope="import:xcclaw", key=entry.id, digest="", lifetime=IMPORT_KEY_LIFETIME_MS)
    return await call.engine.runs.import_run(await _build_run(call, entry), key, dry_run=call.query.dry_run) is None


async def _build_run(call: Call[ImportRequest, DryRun], entry: ImportedTask) -> Run:
    stamps = {name: getattr(entry, name) for name in ("created_at", "started_at", "finished_at")}
    known = {name: _to_stored_time(name, at) for name, at in stamps.items() if at is not None}
    created = known.get("created_at", min(known.values(), default=call.server.clock()))
    spec = build_run_spec(await _find_session_key(call, entry), entry.type, entry.prompt)
    if entry.status is TaskState.PENDING:
        spec = msgspec.structs.replace(spec, held=True, ephemeral=entry.type is TaskType.EPHEMERAL)
        return Run(id=entry.id, seq=0, spec=spec, status=Status.HELD, created=created)
    status, outcome = _ENDS[entry.status]
    unexplained = "it failed in XCClaw, which gave no reason." if entry.status is TaskState.FAILED else None
    return Run(
        id=entry.id,
        seq=0,
        spec=spec,
        status=status,
        outcome=outcome,
        result=entry.result or "" if entry.status is TaskState.COMPLETED else entry.result,
        error=entry.error or unexplained,
        created=created,
        started=known.get("started_at"),
        finished=known.get("finished_at", known.get("started_at", created)),
    )


async def _find_session_key(call: Call[ImportRequest, DryRun], entry: ImportedTask) -> SessionKey:
    """Return the key of a task's session, which need not be there: the one of an ephemeral task is not."""
    chat = _choose_slug(entry.session_id or (SCHEDULED_CHAT if entry.type is TaskType.SCHEDULED else entry.id))
    if entry.type is TaskType.PERSISTENT:
        try:
            named = await call.engine.named_sessions.get_session(XCCLAW_CHANNEL, chat)
        except SessionNotFound:
            pass
        else:
            return SessionKey.from_parts(named.key.partition(":")[0], XCCLAW_CHANNEL, chat)
    return SessionKey.from_parts(call.engine.agents.default_agent.id, XCCLAW_CHANNEL, chat)


def _choose_slug(foreign: str) -> str:
    """Return an id as it is if it can stand in a path and in a session key, else one that is made from it."""
    if ids.is_slug(foreign):
        return foreign
    return f"xcclaw-{hashlib.sha256(foreign.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _to_stored_time(name: str, moment: datetime) -> int:
    """Return a time in milliseconds since 1970 UTC.

    Raises:
        InvalidRequest: it is before 1970 or after 9998.
    """
    found = times.to_milliseconds(moment)
    if not 0 <= found < LAST_IMPORTED_TIME_MS:
        raise InvalidRequest(f"{name}: send a time between 1970 and 9998.")
    return found
