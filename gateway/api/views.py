"""What clients see of runs, sessions and agents: the structs that several routes answer with."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType, field

from gateway.domain import times
from gateway.domain.budget import Budget
from gateway.domain.delivery import Delivery, DeliveryStatus
from gateway.domain.event import Notice
from gateway.domain.file import File
from gateway.domain.permission import PermissionRequest
from gateway.domain.question import AnswerContent, Question
from gateway.domain.run import Outcome, Run
from gateway.domain.session import Message, Session
from gateway.engine.resources.agents import AgentView
from gateway.engine.resources.queue_status import WaitReason
from gateway.errors import AgentError, Conflict, OverBudget, TimedOut


class UsageNumbers(Struct, frozen=True, kw_only=True):
    """What a run used; numbers that are not known are 0."""

    #: input tokens
    input: int
    #: output tokens, including reasoning
    output: int
    #: of the input tokens, those that came from a cache
    cached: int
    #: in US dollars, as the backend reports it; 0 when it reports none
    cost: float


class UsageShown(UsageNumbers, frozen=True, kw_only=True):
    """What a run used; numbers that are not known are 0, and the flags say so."""

    #: false if the task worked and has ended, and its agent reported no tokens
    tokens_known: bool
    #: false if the task worked and has ended, and its agent reported no cost
    cost_known: bool


def render_usage(of: Run) -> UsageShown:
    used = of.usage
    return UsageShown(
        input=used.input,
        output=used.output,
        cached=used.cached,
        cost=used.cost,
        tokens_known=of.knows_tokens,
        cost_known=of.knows_cost,
    )


class BudgetShown(Struct, frozen=True, kw_only=True):
    """Limits a day; null means no limit."""

    #: runs that start
    runs: int | None
    #: tokens read and written
    tokens: int | None
    #: in US dollars
    cost: float | None


def render_budget(of: Budget) -> BudgetShown:
    return BudgetShown(runs=of.runs, tokens=of.tokens, cost=of.cost)


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


class FileShown(Struct, frozen=True, kw_only=True):
    """A file. `GET /api/files/{id}` returns its content."""

    #: a ULID
    id: str
    #: safe to use as the name of a file
    name: str
    #: its type, such as `image/png`
    media_type: str
    #: in bytes
    size: int
    #: of its content, in hexadecimal
    sha256: str


def render_file(of: File) -> FileShown:
    return FileShown(id=of.id, name=of.name, media_type=of.media_type, size=of.size, sha256=of.sha256)


def render_files(of: Sequence[File]) -> list[FileShown]:
    return [render_file(file) for file in of]


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


class DeliveryShown(Struct, frozen=True, kw_only=True):
    """A delivery, as the HTTP API shows it."""

    #: also the `webhook-id`, the same for each attempt
    id: str
    #: pending, sending, delivered or dead
    status: str
    #: id of the task whose end it reports
    task: str
    #: webhook, or a channel's name
    kind: str
    #: a URL, or the id of a chat
    address: str
    #: the format of its body
    format: str
    #: attempts so far
    attempt: int
    #: when the next attempt is; null if there is none
    next_at: str | None
    #: why the last attempt failed
    error: str | None
    created_at: str
    #: when it was delivered, or became a dead letter
    finished_at: str | None


def render_delivery(of: Delivery) -> DeliveryShown:
    return DeliveryShown(
        id=of.id,
        status=of.status,
        task=of.run,
        kind=of.target.kind,
        address=of.target.address,
        format=of.target.format,
        attempt=of.attempt,
        next_at=times.format_rfc3339(of.next_at) if of.status is DeliveryStatus.PENDING else None,
        error=of.error,
        created_at=times.format_rfc3339(of.created),
        finished_at=render_time(of.finished),
    )


class PermissionShown(Struct, frozen=True, kw_only=True):
    """A permission request or a question of an agent, as the HTTP API shows it."""

    #: `p1` for the first request of the task
    id: str
    #: id of the task whose agent asks
    task: str
    #: what the agent wants to do, or its question in short
    action: str
    #: the possible answers: allow, allow_always, deny; to a question answer, deny
    choices: list[str]
    asked_at: str
    #: when it is denied if nobody has answered
    expires_at: str
    #: the answer; null while it waits
    answer: str | None
    #: when it was answered; null while it waits
    answered_at: str | None
    #: who answered: a token's name, or a channel and its chat; null if nobody did
    answered_by: str | None
    #: why it was denied without an answer: deadline or withdrawn
    reason: str | None
    #: what the agent asks; null if it asks for permission, and for nothing else
    question: Question | None
    #: the answers to the fields of the question, by their names; null while it waits
    content: AnswerContent | None


def render_permission(of: PermissionRequest) -> PermissionShown:
    return PermissionShown(
        id=of.id,
        task=of.run,
        action=of.action,
        choices=list(of.choices),
        asked_at=times.format_rfc3339(of.asked),
        expires_at=times.format_rfc3339(of.expires),
        answer=of.answer,
        answered_at=render_time(of.answered),
        answered_by=of.answered_by or None,
        reason=of.denial_reason,
        question=of.question,
        content=of.content,
    )


class SessionShown(Struct, frozen=True, kw_only=True):
    """A session, as the HTTP API shows it."""

    #: agent:channel:chat
    key: str
    #: id of its agent
    agent_id: str = field(name="agentId")
    #: where its messages come from
    channel: str
    #: its name in the channel
    chat_id: str
    #: the beginning of its first message
    title: str
    #: messages in the transcript
    messages: int
    #: runs that are queued or running
    active: int
    created_at: str
    last_activity: str


def render_session(of: Session) -> SessionShown:
    return SessionShown(
        key=of.key,
        agent_id=of.agent,
        channel=of.channel,
        chat_id=of.chat,
        title=of.title,
        messages=of.message_count,
        active=of.active_runs,
        created_at=times.format_rfc3339(of.created),
        last_activity=times.format_rfc3339(of.updated),
    )


class MessageShown(Struct, frozen=True, kw_only=True):
    """One message of a transcript."""

    #: user or assistant
    role: str
    #: the text
    content: str
    #: files that came with it, or that the agent made
    files: list[FileShown]
    at: str
    run_id: str


def render_message(of: Message) -> MessageShown:
    return MessageShown(
        role=of.role,
        content=of.content,
        files=render_files(of.files),
        at=times.format_rfc3339(of.at),
        run_id=of.run,
    )


class AgentShown(Struct, frozen=True, kw_only=True):
    """An agent and its state."""

    #: its id; for an agent of the config file, the one that it has there
    id: str
    #: another name that requests may use; for an agent of the config file, its id
    slug: str
    #: the name that people see
    name: str
    #: id of the agent that it builds on; null for an agent of the config file
    base: str | None
    #: what drives it, such as opencode or openai
    backend: str
    #: the model; null leaves the choice to the backend
    model: str | None
    system_prompt: str | None
    #: idle, working or disabled
    status: str
    #: its running runs
    current_tasks: int
    #: its queued runs
    queued: int
    #: slots taken by assigned tasks, queued or running
    assigned: int
    max_concurrent: int
    #: whether it takes new runs
    is_enabled: bool
    #: whether it answers requests that name no agent
    is_default: bool
    #: seconds that a run may take
    timeout: float
    #: what it may use in a day; null means no limit
    budget: BudgetShown | None
    #: whether its tasks report tokens; null if only its tasks show that
    tells_tokens: bool | None
    #: whether its tasks report their cost; null if only its tasks show that
    tells_cost: bool | None
    #: kinds of files that it takes itself: image, audio, pdf, other; null if only its tasks show that
    accepts: list[str] | None
    created_at: str | None
    updated_at: str | None


def render_agent(of: AgentView) -> AgentShown:
    stored = of.stored
    return AgentShown(
        id=of.agent.id,
        slug=of.slug,
        name=stored.name if stored else of.agent.id,
        base=stored.base if stored else None,
        backend=of.agent.backend,
        model=of.agent.model,
        system_prompt=of.agent.system_prompt,
        status=of.activity,
        current_tasks=of.load.running,
        queued=of.load.queued,
        assigned=of.load.slots,
        max_concurrent=of.agent.max_concurrent,
        is_enabled=of.agent.enabled,
        is_default=of.default,
        timeout=of.agent.timeout,
        budget=None if of.agent.budget in (None, Budget()) else render_budget(of.agent.budget),
        tells_tokens=of.abilities.tells_tokens,
        tells_cost=of.abilities.tells_cost,
        accepts=None if of.accepts is None else sorted(of.accepts),
        created_at=render_time(stored.created if stored else None),
        updated_at=render_time(stored.updated if stored else None),
    )


def render_time(at: int | None) -> str | None:
    """Return a time as RFC 3339 text; None stays None."""
    return None if at is None else times.format_rfc3339(at)
