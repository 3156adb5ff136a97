"""What clients see of a run, and of its answer."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from gateway.api.views.file import FileShown, render_files
from gateway.api.views.time import render_time
from gateway.api.views.usage import UsageShown, render_usage
from gateway.domain import times
from gateway.domain.event import Notice
from gateway.domain.run import Outcome, Run
from gateway.engine.resources.queue_status import WaitReason
from gateway.errors import AgentError, Conflict, OverBudget, TimedOut


def result_or_raise(run: Run) -> str:
    """Return the agent's answer of a run that has ended.

    Raises:
        AgentError, TimedOut, OverBudget, Conflict: the run has no answer; the error says why.
    """
    if run.outcome is Outcome.COMPLETED:
        return run.result or ""
    details = {"run_id": run.id, "outcome": str(run.outcome)}
    if run.outcome is Outcome.CANCELLED_BY_USER:
        raise Conflict("the run was cancelled.", details=details)
    if run.outcome is Outcome.OVER_BUDGET:
        raise OverBudget(run.error, details=details)
    if run.outcome is Outcome.TIMEOUT:
        raise TimedOut(run.error, details=details)
    raise AgentError(run.error, details=details)


def tell_notice(run: Run, notice: Notice) -> bool | UnsetType:
    """Return True if a run has a notice; an answer leaves out the field of one that it does not have."""
    return True if notice in run.notices else UNSET


class WaitShown(Struct, frozen=True, kw_only=True):
    """What a queued task waits for."""

    #: the reason, for people
    why: str
    #: when the wait ends; null if that is not known
    until: str | None


class TaskShown(Struct, frozen=True, kw_only=True):
    """A run, as the HTTP API shows it."""

    #: a ULID, which sorts by time; any unique part of it names the task
    id: str
    #: held, queued, running, succeeded, failed or cancelled
    status: str
    #: why it ended: completed, agent_error, timeout, interrupted, over_budget or cancelled_by_user
    outcome: str | None
    #: id of the agent that works on it
    agent_id: str = field(name="agentId")
    #: key of its session: agent:channel:chat
    session: str
    #: where it came from, such as agent, task, cron or webhook
    source: str
    #: name of the token that submitted it; a channel and its chat; or a schedule. Null if nobody is known
    submitted_by: str | None
    #: what the agent is told; in lists, at most its first 4,096 characters: `shortened` says so
    input: str
    #: files that came with it
    attachments: list[FileShown]
    #: turn or goal
    mode: str
    model: str | None
    #: among the tasks of one agent, higher ones start first
    priority: int
    #: names and values by which it is found
    labels: dict[str, str]
    #: id of the task that this one is part of
    parent: str | None
    #: id of the task that this one repeats
    retry_of: str | None
    #: attempts so far
    attempt: int
    #: the most attempts; only interruptions and passing failures are tried again
    max_attempts: int
    #: whether it was told to stop
    cancel_requested: bool
    #: what it waits for while it is queued; null when nothing holds it up, and in answers that do not look for it
    waits: WaitShown | None
    #: number of the last event in its log
    last_event: int
    #: the agent's answer; null before the end, and after a failure. In lists, at most its first 4,096 characters
    result: str | None
    #: files that the agent made
    files: list[FileShown]
    #: why the answer ended: stop, or length or content_filter if it was cut; null if there is no answer
    finish: str | None
    #: why it failed, for people; null if it did not
    error: str | None
    #: in lists: whether `input`, `result` or `error` is shortened and ends with `…`; the whole task is at its own path
    shortened: bool
    usage: UsageShown
    #: in goal mode: how often the agent was asked
    rounds: int | None
    #: in goal mode, at the end: whether the goal was reached
    done: bool | None
    #: whether the agent had lost its conversation, began a new one, and was given the transcript
    session_restarted: bool
    #: whether the oldest turns were left out, because the model could not read the whole conversation
    context_shortened: bool
    #: when it was accepted
    created_at: str
    #: it starts no earlier than this
    run_at: str | None
    started_at: str | None
    finished_at: str | None


def render_task(run: Run, wait: WaitReason | None = None) -> TaskShown:
    return TaskShown(
        id=run.id,
        status=run.status,
        outcome=run.outcome,
        agent_id=run.spec.agent,
        session=run.spec.session,
        source=run.spec.source,
        submitted_by=run.spec.submitted_by,
        input=run.spec.input,
        attachments=render_files(run.spec.attachments),
        mode=run.spec.mode,
        model=run.spec.model,
        priority=run.spec.priority,
        labels=run.spec.labels,
        parent=run.spec.parent,
        retry_of=run.spec.retry_of,
        attempt=run.attempt,
        max_attempts=run.spec.max_attempts,
        cancel_requested=run.cancel_requested,
        waits=None if wait is None else WaitShown(why=wait.text, until=render_time(wait.until)),
        last_event=run.last_event,
        result=run.result,
        files=render_files(run.files),
        finish=run.finish,
        error=run.error,
        shortened=run.shortened,
        usage=render_usage(run),
        rounds=run.rounds,
        done=run.done,
        session_restarted=Notice.SESSION_RESTARTED in run.notices,
        context_shortened=Notice.CONTEXT_SHORTENED in run.notices,
        created_at=times.format_rfc3339(run.created),
        run_at=render_time(run.spec.run_at),
        started_at=render_time(run.started),
        finished_at=render_time(run.finished),
    )
