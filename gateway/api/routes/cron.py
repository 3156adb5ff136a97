"""Schedules: runs that start at set times."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.api import fields, paging, views
from gateway.api.attachments import Attachments, limit_body_with_files, receive_attachments
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import cron, times
from gateway.domain.address_policy import MAX_WEBHOOK_URL_CHARACTERS
from gateway.domain.budget import Budget
from gateway.domain.delivery import CHAT_FORMAT, Target
from gateway.domain.ids import MODEL_PATTERN
from gateway.domain.schedule import Misfire, Overlap, Schedule, ScheduleSpec
from gateway.domain.token import Scope
from gateway.errors import InvalidRequest

ROUTES = Routes("cron")

#: how many of its next times a schedule is shown with
SHOWN_NEXT_TIMES = 5

Expression = Annotated[str, Meta(min_length=1, max_length=cron.MAX_SCHEDULE_EXPRESSION_CHARACTERS)]
Name = Annotated[str, Meta(max_length=100, pattern=fields.SHOWN_NAME_PATTERN)]
Zone = Annotated[str, Meta(min_length=1, max_length=64)]
Days = Annotated[float, Meta(ge=0, le=31_622_400)]
Failures = Annotated[int, Meta(ge=0, le=1000)]


class Deliver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A chat that the answer is sent to."""

    #: name of a configured channel
    channel: fields.ChannelName
    chat_id: fields.Chat


class JobFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a schedule."""

    #: the name that people see
    name: Name | UnsetType = UNSET
    #: a cron expression, `every 15m`, or an RFC 3339 time
    schedule: Expression | UnsetType = UNSET
    #: the same as `schedule`
    cron: Expression | UnsetType = UNSET
    #: IANA name of a time zone; the setting `cron.timezone`, or else the zone of this machine, when left out
    timezone: Zone | UnsetType = UNSET
    #: what the agent is told
    prompt: fields.Prompt | UnsetType = UNSET
    #: the same as `prompt`
    message: fields.Prompt | UnsetType = UNSET
    attachments: Attachments | UnsetType = UNSET
    #: id or slug of the agent; the default agent when null
    agent_id: fields.AgentName | UnsetType | None = field(default=UNSET, name="agentId")
    #: name of a session, or its full key; the schedule's own session when left out
    session: fields.SessionName | UnsetType | None = UNSET
    #: whether each run gets a new session
    fresh: bool | UnsetType = UNSET
    model: Annotated[str, Meta(pattern=MODEL_PATTERN)] | UnsetType | None = UNSET
    #: seconds that a run may take
    timeout: fields.Seconds | UnsetType | None = UNSET
    #: whether it starts runs
    enabled: bool | UnsetType = UNSET
    #: a chat that gets the answers, too
    deliver: Deliver | UnsetType | None = UNSET
    #: URL that receives a signed POST when a run ends
    webhook: Annotated[str, Meta(min_length=1, max_length=MAX_WEBHOOK_URL_CHARACTERS)] | UnsetType | None = UNSET
    #: the secret that it is signed with, `whsec_` and base64; only together with `webhook`; the gateway's own secret
    #: when left out
    webhook_secret: fields.WebhookSecret | None = None
    #: what happens with times at which the gateway was not running
    misfire: Misfire | UnsetType = UNSET
    #: what happens at a time while earlier runs have not ended: `queue_one` lets one run wait, `queue` up to 100, and
    #: further times are skipped; `skip` lets none wait; `replace` cancels the earlier runs. When left out or null:
    #: `queue_one`, or `queue` for a single time and if `misfire` is `all`
    overlap: Overlap | UnsetType | None = UNSET
    #: seconds after which a missed time is not made up for
    max_age: Days | UnsetType | None = UNSET
    #: a run starts up to so many seconds later, at random
    jitter: Annotated[float, Meta(ge=0, le=86_400)] | UnsetType = UNSET
    #: failures in a row after which the schedule is disabled; 0 for never
    max_failures: Failures | UnsetType = UNSET
    #: what its runs may use in a day; null removes all limits
    budget: Budget | UnsetType | None = UNSET


class JobShown(Struct, frozen=True, kw_only=True):
    #: id of the schedule
    id: str
    #: the name that people see; may be empty
    name: str
    #: a cron expression, `every 15m`, or an RFC 3339 time
    schedule: str
    timezone: str
    #: what the agent is told
    prompt: str
    #: files that the agent is given each time
    attachments: list[views.FileShown]
    #: id or slug of the agent; null means the default agent
    agent_id: str | None = field(name="agentId")
    #: name of a session, or its full key; null means a session of its own
    session: str | None
    #: whether each run gets a new session
    fresh: bool
    model: str | None
    #: seconds that a run may take; null means the agent's limit
    timeout: float | None
    #: whether it starts runs
    enabled: bool
    #: why it was disabled, unless somebody did it
    reason: str | None
    #: the chat that gets the answers, as `channel` and `chat_id`; null means none
    deliver: dict[str, str] | None
    #: URL that receives a signed POST when a run ends; null means none
    webhook: str | None
    #: skip, once or all
    misfire: str
    #: queue, queue_one, skip or replace
    overlap: str
    #: seconds after which a missed time is not made up for; null means never
    max_age: float | None
    #: a run starts up to so many seconds later, at random
    jitter: float
    #: failures in a row
    failures: int
    #: failures in a row after which it is disabled; 0 means never
    max_failures: int
    #: what its runs may use in a day; null means no limit
    budget: views.BudgetShown | None
    next_run: str | None
    #: when it last started a run; null if it never did
    last_run: str | None
    #: status of the last run
    last_status: str | None
    #: id of the last run
    last_run_id: str | None
    #: times that were missed since it was made
    missed: int
    #: times that were skipped since it was made, because earlier runs had not ended
    skipped: int
    #: why the last of them was skipped
    skip_reason: str | None
    created_at: str
    updated_at: str


class JobDetails(JobShown, frozen=True, kw_only=True):
    #: its next times, in UTC; without the random delay of `jitter`
    next_runs: list[str]


class JobDetailsAnswer(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    job: JobDetails


class JobList(Struct, frozen=True, kw_only=True):
    #: newest first
    jobs: list[JobShown]
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


class JobAnswer(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    job: JobShown


class WhichJobs(paging.Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which schedules to list."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 500


class Deleted(Struct, frozen=True):
    status: str = "ok"


class Wanted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether to enable or disable; the opposite of what it is now when left out."""

    #: whether it shall start runs
    enabled: bool | None = None


class Toggled(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    #: whether it starts runs now
    enabled: bool
    next_run: str | None


class Which(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: id of the schedule
    job_id: Annotated[str, Meta(min_length=1, max_length=64)]


class Triggered(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    #: a text for people
    message: str = "Task triggered"
    run_id: str


class FireList(Struct, frozen=True, kw_only=True):
    #: newest first
    runs: list[views.FireShown]
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


class Preview(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which times to show."""

    #: a cron expression, `every 15m`, or an RFC 3339 time
    schedule: Expression
    timezone: Zone | None = None
    #: how many times to show
    count: Annotated[int, Meta(ge=1, le=100)] = 5


class Times(Struct, frozen=True, kw_only=True):
    #: the expression that was sent
    schedule: str
    timezone: str
    #: in UTC
    times: list[str]


@ROUTES.add("GET", "/api/cron", scope=Scope.READ, query=WhichJobs, answer=JobList)
async def list_jobs(call: Call[Nothing, WhichJobs]) -> JobList:
    """List schedules, newest first."""
    found = await call.engine.schedules.list_schedules(paging.page_to_fetch(call.query))
    jobs, cursor = paging.render_page(call.query, found, lambda job: job.seq, _render_job)
    return JobList(jobs=jobs, next_cursor=cursor)


@ROUTES.add("GET", "/api/cron/next", scope=Scope.READ, query=Preview, answer=Times)
async def next_times(call: Call[Nothing, Preview]) -> Times:
    """Show the next times of an expression, without making a schedule."""
    asked = call.query
    zone = asked.timezone or call.server.config.cron.timezone
    found = call.engine.schedules.preview_times(asked.schedule, zone, asked.count)
    return Times(schedule=asked.schedule, timezone=zone, times=[times.format_rfc3339(time) for time in found])


@ROUTES.add("GET", "/api/cron/{id}", scope=Scope.READ, answer=JobDetailsAnswer)
async def show_job(call: Call[Nothing, Nothing]) -> JobDetailsAnswer:
    """Show a schedule and its next times."""
    found = await call.engine.schedules.get_schedule(call.path["id"])
    next_times = call.engine.schedules.list_next_times(found, SHOWN_NEXT_TIMES)
    shown = msgspec.structs.asdict(_render_job(found))
    return JobDetailsAnswer(job=JobDetails(**shown, next_runs=[times.format_rfc3339(time) for time in next_times]))


@ROUTES.add(
    "POST",
    "/api/cron/create",
    scope=Scope.WRITE,
    body=JobFields,
    answer=JobAnswer,
    body_limit=limit_body_with_files,
)
async def create_job(call: Call[JobFields, Nothing]) -> JobAnswer:
    """Make a schedule. It is on disk when this answers."""
    wanted = _read_spec_fields(call)
    for name, said in (("schedule", "expression"), ("prompt", "input")):
        if said not in wanted:
            raise InvalidRequest(f"{name}: is missing.")
    settings = call.server.config.cron
    wanted = {"timezone": settings.timezone, "max_failures": settings.max_failures, **wanted}
    enabled = call.body.enabled is not False
    async with receive_attachments(call, call.body.attachments) as given:
        spec = ScheduleSpec(**wanted, attachments=given.files)
        key = call.read_idempotency_key(given.files)
        made = call.engine.schedules.create_schedule(spec, enabled=enabled, key=key, staged=given.staged)
        return JobAnswer(job=_render_job(await asyncio.shield(made)))


@ROUTES.add(
    "PATCH", "/api/cron/{id}", scope=Scope.WRITE, body=JobFields, answer=JobAnswer, body_limit=limit_body_with_files
)
async def edit_job(call: Call[JobFields, Nothing]) -> JobAnswer:
    """Change a schedule; fields that are left out stay as they are."""
    id_, schedules = call.path["id"], call.engine.schedules
    found = await schedules.get_schedule(id_)
    changes = _read_spec_fields(call, found.spec.deliver)
    enabled = None if call.body.enabled is UNSET else call.body.enabled
    replaces_files = call.body.attachments is not UNSET
    async with receive_attachments(call, call.body.attachments) as given:
        if replaces_files:
            changes["attachments"] = given.files
        if changes or enabled is not None:
            found = await asyncio.shield(schedules.edit_schedule(id_, changes, enabled, given.staged))
    return JobAnswer(job=_render_job(found))


@ROUTES.add("DELETE", "/api/cron/{id}", scope=Scope.WRITE, answer=Deleted)
async def delete_job(call: Call[Nothing, Nothing]) -> Deleted:
    """Delete a schedule; its runs stay."""
    await asyncio.shield(call.engine.schedules.delete_schedule(call.path["id"]))
    return Deleted()


@ROUTES.add("POST", "/api/cron/{id}/toggle", scope=Scope.WRITE, body=Wanted, answer=Toggled)
async def toggle_job(call: Call[Wanted, Nothing]) -> Toggled:
    """Enable or disable a schedule; without a body, switch it."""
    found = await asyncio.shield(call.engine.schedules.toggle_schedule(call.path["id"], call.body.enabled))
    return Toggled(enabled=found.enabled, next_run=_render_next_run(found))


@ROUTES.add("POST", "/api/cron/trigger", scope=Scope.WRITE, body=Which, answer=Triggered)
async def trigger_job(call: Call[Which, Nothing]) -> Triggered:
    """Run a schedule now, in addition to its times."""
    accepted = await asyncio.shield(
        call.engine.schedules.trigger_schedule(call.body.job_id, call.read_idempotency_key())
    )
    call.headers["X-Run-Id"] = accepted.run.id
    return Triggered(run_id=accepted.run.id)


@ROUTES.add("GET", "/api/cron/{id}/runs", scope=Scope.READ, query=paging.Paging, answer=FireList)
async def job_runs(call: Call[Nothing, paging.Paging]) -> FireList:
    """Show what happened at a schedule's times, newest first, including those that were missed or skipped."""
    found = await call.engine.schedules.list_fires(call.path["id"], paging.page_to_fetch(call.query))
    fires, cursor = paging.render_page(call.query, found, lambda fire: fire.scheduled_for, views.render_fire)
    return FireList(runs=fires, next_cursor=cursor)


_SPEC_FIELD_NAMES = {
    "schedule": "expression",
    "cron": "expression",
    "prompt": "input",
    "message": "input",
    "agent_id": "agent",
}
_FIELDS_OUTSIDE_SPEC = frozenset({"attachments", "enabled", "deliver", "webhook", "webhook_secret"})


def _read_spec_fields(call: Call[JobFields, Nothing], before: tuple[Target, ...] = ()) -> dict[str, Any]:
    """Return the fields that were sent, by their names in `ScheduleSpec`."""
    given = msgspec.structs.asdict(call.body)
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is UNSET or name in _FIELDS_OUTSIDE_SPEC:
            continue
        word = _SPEC_FIELD_NAMES.get(name, name)
        if word in found:
            raise InvalidRequest(f"{name}: the same value was sent twice, under two names.")
        found[word] = None if value == Budget() else value
    if call.body.deliver is not UNSET or call.body.webhook is not UNSET or call.body.webhook_secret is not None:
        found["deliver"] = _read_delivery_targets(call, before)
    return found


def _read_delivery_targets(call: Call[JobFields, Nothing], before: tuple[Target, ...]) -> tuple[Target, ...]:
    if call.body.webhook_secret is not None and not isinstance(call.body.webhook, str):
        raise InvalidRequest("webhook_secret: send it together with the webhook that it signs.")
    given = {True: call.body.webhook, False: call.body.deliver}
    kept = [target for target in before if given[target.kind == "webhook"] is UNSET]
    if isinstance(call.body.deliver, Deliver):
        channel = call.body.deliver.channel
        if not call.engine.channels.sends_replies(channel):
            raise InvalidRequest(f"deliver: nothing is sent to {channel!r}; its answers are read from a session.")
        kept.append(Target(kind=channel, address=call.body.deliver.chat_id, format=CHAT_FORMAT))
    if isinstance(call.body.webhook, str):
        kept.append(call.engine.deliveries.make_webhook_target(call.body.webhook, secret=call.body.webhook_secret))
    return tuple(kept)


def _render_job(job: Schedule) -> JobShown:
    spec = job.spec
    chat = next((target for target in spec.deliver if target.kind != "webhook"), None)
    return JobShown(
        id=job.id,
        name=spec.name,
        schedule=spec.expression,
        timezone=spec.timezone,
        prompt=spec.input,
        attachments=views.render_files(spec.attachments),
        agent_id=spec.agent,
        session=spec.session,
        fresh=spec.fresh,
        model=spec.model,
        timeout=spec.timeout,
        enabled=job.enabled,
        reason=job.reason,
        deliver=None if chat is None else {"channel": chat.kind, "chat_id": chat.address},
        webhook=next((target.address for target in spec.deliver if target.kind == "webhook"), None),
        misfire=spec.misfire,
        overlap=spec.overlap_policy,
        max_age=spec.max_age,
        jitter=spec.jitter,
        failures=job.failures,
        max_failures=spec.max_failures,
        budget=None if spec.budget is None else views.render_budget(spec.budget),
        next_run=_render_next_run(job),
        last_run=views.render_time(job.last_at),
        last_status=job.last_status,
        last_run_id=job.last_run,
        missed=job.missed,
        skipped=job.skipped,
        skip_reason=job.skip_reason,
        created_at=times.format_rfc3339(job.created),
        updated_at=times.format_rfc3339(job.updated),
    )


def _render_next_run(job: Schedule) -> str | None:
    return views.render_time(job.next_at if job.enabled else None)
