"""A run: one unit of agent work, its statuses, and the table of moves between them.

All work of agents is a run. The diagram in `docs/architecture.md` is made from the table of moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field

from gateway.domain import goal
from gateway.domain.budget import Budget
from gateway.domain.delivery import Target
from gateway.domain.event import Notice, Usage
from gateway.domain.file import File
from gateway.domain.reach import Reach
from gateway.domain.search import SearchTerm
from gateway.errors import Conflict


class Source(StrEnum):
    """Where a run came from."""

    MESSAGE = "message"
    AGENT = "agent"
    TASK = "task"
    #: an assigned task: it holds a slot of its agent until it ends
    ASSIGN = "assign"
    #: work of low priority: these runs have a limit of their own, for all agents together
    BACKGROUND = "background"
    CRON = "cron"
    HOOK = "hook"
    WEBHOOK = "webhook"
    OPENAI = "openai"
    #: another agent submitted it, with a tool
    MCP = "mcp"


class Mode(StrEnum):
    """How often an agent is prompted."""

    #: once
    TURN = "turn"
    #: again and again in one session, until the goal is reached
    GOAL = "goal"


class Status(StrEnum):
    #: stored, and not yet released to run
    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})


class Outcome(StrEnum):
    """Why a run ended as it did."""

    COMPLETED = "completed"
    AGENT_ERROR = "agent_error"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    CANCELLED_BY_USER = "cancelled_by_user"
    OVER_BUDGET = "over_budget"


class FinishReason(StrEnum):
    """Why an answer ended."""

    #: the agent has said all
    STOP = "stop"
    #: a limit cut it: of tokens, or of steps
    LENGTH = "length"
    #: the model or its server withheld the rest
    CONTENT_FILTER = "content_filter"

    @property
    def remark(self) -> str:
        """What to tell the reader of the answer; empty if it is complete."""
        return _FINISH_REMARKS.get(self, "")


_FINISH_REMARKS = {
    FinishReason.LENGTH: "the answer is not complete: it reached a limit of tokens or steps.",
    FinishReason.CONTENT_FILTER: "the answer is not complete: a filter, or the model itself, withheld the rest.",
}


#: statuses of the runs that can be submitted again
RETRIED_STATUSES = frozenset({Status.FAILED, Status.CANCELLED})


class OnInterrupt(StrEnum):
    """What happens to a run that a crash or a stop interrupted."""

    RETRY = "retry"
    FAIL = "fail"


class Move(StrEnum):
    RELEASE = "release"
    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    REQUEUE = "requeue"
    ABANDON = "abandon"
    REFUSE = "refuse"


class _Transition(NamedTuple):
    from_statuses: frozenset[Status]
    to_status: Status


#: all possible moves; no move leads out of a final status
RUN_MOVES: Mapping[Move, _Transition] = {
    Move.RELEASE: _Transition(frozenset({Status.HELD}), Status.QUEUED),
    Move.CLAIM: _Transition(frozenset({Status.QUEUED}), Status.RUNNING),
    Move.SUCCEED: _Transition(frozenset({Status.RUNNING}), Status.SUCCEEDED),
    Move.FAIL: _Transition(frozenset({Status.RUNNING}), Status.FAILED),
    Move.CANCEL: _Transition(frozenset({Status.HELD, Status.QUEUED, Status.RUNNING}), Status.CANCELLED),
    Move.REQUEUE: _Transition(frozenset({Status.RUNNING}), Status.QUEUED),
    Move.ABANDON: _Transition(frozenset({Status.QUEUED}), Status.FAILED),
    Move.REFUSE: _Transition(frozenset({Status.QUEUED}), Status.FAILED),
}


def apply_move(status: Status, move: Move) -> Status:
    """Return the status after a move.

    Raises:
        Conflict: this move is not possible in this status.
    """
    row = RUN_MOVES[move]
    if status not in row.from_statuses:
        raise Conflict(f"cannot {move} a task that is {status}.")
    return row.to_status


def draw_diagram() -> str:
    """Return the table of moves as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {Status.QUEUED}: submit", f"    [*] --> {Status.HELD}: hold"]
    for move, row in RUN_MOVES.items():
        lines += [f"    {source} --> {row.to_status}: {move}" for source in sorted(row.from_statuses)]
    lines += [f"    {status} --> [*]" for status in sorted(FINAL_STATUSES)]
    return "\n".join(lines) + "\n"


#: how often a run is attempted in all, when crashes interrupt it
MAX_ATTEMPTS = 3
#: characters of a run's input, result or error in a list
MAX_LISTED_TEXT_CHARACTERS = 4096
#: how often an agent is prompted at most until its goal is reached
MAX_ROUNDS = 10


class RunSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The work to do: all that is known about a run when it is submitted."""

    source: Source
    #: id of the agent
    agent: str
    #: key of the session, `agent:channel:chat`
    session: str
    input: str
    #: files that belong to the input
    attachments: tuple[File, ...] = ()
    #: whether the agent is told where to put files that it makes; those of a chat always are
    wants_files: bool = False
    mode: Mode = Mode.TURN
    #: limit of rounds in goal mode
    max_rounds: int = MAX_ROUNDS
    #: whether it must wait until it is released
    held: bool = False
    #: whether its session is deleted when it ends
    ephemeral: bool = False
    #: whether its session's workspace stays when it ends; not if nobody can continue the conversation
    keeps_workspace: bool = True
    model: str | None = None
    #: in seconds; None means the agent's timeout
    timeout: float | None = None
    #: runs of higher priority start first within an agent; within a session the order stays first in, first out
    priority: int = 0
    #: earliest start, in milliseconds since 1970 UTC
    run_at: int | None = None
    #: where the result is sent
    deliver: tuple[Target, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    #: budget of the run's schedule, which the label `schedule` names
    budget: Budget | None = None
    #: id of the run whose agent submitted this one
    parent: str | None = None
    #: id of the run that this one retries
    retry_of: str | None = None
    #: name of the token of the request that submitted it; a channel and its chat; or a schedule
    submitted_by: str | None = None
    #: length of the chain of parents: runs whose agents each submitted the next one
    depth: int = 0
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    max_attempts: int = MAX_ATTEMPTS
    #: fields of the client's request that its front door repeats when it shows the run; nothing else reads them
    request_fields: dict[str, Any] = field(default_factory=dict)
    #: the place in its caller's trace, as the `traceparent` of the request names it; only where runs are traced
    traceparent: str | None = None

    @property
    def schedule_id(self) -> str | None:
        """The id of the schedule that this run belongs to, if any."""
        return self.labels.get("schedule") if self.source is Source.CRON else None

    def build_prompt(self, number: int) -> str:
        """Return the prompt of a round, counted from 1; turn mode has only one round."""
        return goal.build_round_prompt(self.input, number, self.max_rounds) if self.mode is Mode.GOAL else self.input


class Run(Struct, frozen=True, kw_only=True):
    """A stored run. Times are milliseconds since 1970 UTC."""

    id: str
    #: order of acceptance
    seq: int
    spec: RunSpec
    status: Status
    outcome: Outcome | None = None
    #: attempts so far, including the current one
    attempt: int = 0
    #: each claim increments it; a write with an older epoch is refused
    epoch: int = 0
    #: the process that works on it, while it is running
    owner: str | None = None
    cancel_requested: bool = False
    #: number of the last event in its log
    last_event: int = 0
    result: str | None = None
    #: why the answer ended; None without an answer
    finish: FinishReason | None = None
    usage: Usage = Usage()
    error: str | None = None
    #: in goal mode: completed rounds, including the last one, whatever its result
    rounds: int | None = None
    #: in goal mode, when the run has ended: whether the goal was reached
    done: bool | None = None
    #: what the attempt that ended the run had to change about the conversation
    notices: tuple[Notice, ...] = ()
    #: files that the agent made
    files: tuple[File, ...] = ()
    created: int
    started: int | None = None
    finished: int | None = None
    #: whether its input, result or error is cut to `MAX_LISTED_TEXT_CHARACTERS`, as in lists
    shortened: bool = False

    @property
    def knows_tokens(self) -> bool:
        """Whether its tokens are known: not if it has worked and ended, and its agent reported none."""
        return not self._has_worked or self.usage.input + self.usage.output > 0

    @property
    def knows_cost(self) -> bool:
        """Whether its cost is known: not if it has worked and ended, and its agent reported none."""
        return not self._has_worked or self.usage.cost > 0

    @property
    def _has_worked(self) -> bool:
        return self.status.is_final and self.started is not None


class SessionStart(Struct, frozen=True, kw_only=True):
    """What the first turn of a claimed run begins with."""

    #: the backend's own id of the session's conversation, with the backend's name before it
    backend_ref: str | None = None
    #: name of the session's workspace, if it has one that was used lately
    workspace: str | None = None


class ClaimedRun(Struct, frozen=True):
    """A run whose attempt begins now."""

    run: Run
    #: None if it has to be read: the session's row was not readable
    session_start: SessionStart | None


class EndedRun(Struct, frozen=True, kw_only=True):
    """How a run ended. Times are milliseconds since 1970 UTC."""

    id: str
    status: Status
    outcome: Outcome | None
    #: None if it never worked
    started: int | None
    finished: int


class AttemptResult(Struct, frozen=True, kw_only=True):
    """The result of an attempt, and the move that it makes."""

    move: Move
    outcome: Outcome
    result: str | None = None
    finish: FinishReason | None = None
    error: str | None = None
    #: usage of the attempt; in goal mode, of its last round only
    usage: Usage = Usage()
    #: in goal mode: the round in which the run ended
    rounds: int | None = None
    done: bool | None = None
    notices: tuple[Notice, ...] = ()
    #: files that the agent made, without those of rounds that have ended; new ones come to the store with this result
    files: tuple[File, ...] = ()
    #: whether the model refused the prompt, so that later turns leave it out
    prompt_refused: bool = False


class GoalRound(Struct, frozen=True, kw_only=True):
    """A completed round in goal mode that did not reach the goal."""

    #: counted from 1
    number: int
    reply: str
    usage: Usage
    #: what the agent has made in it, without what is in the outbox
    files: tuple[File, ...] = ()


def shorten_texts(run: Run) -> Run:
    """Return a run as lists show it: long texts are cut, and end with `…`."""
    texts = (run.spec.input, run.result, run.error)
    if not any(text is not None and len(text) > MAX_LISTED_TEXT_CHARACTERS for text in texts):
        return run
    return msgspec.structs.replace(
        run,
        spec=msgspec.structs.replace(run.spec, input=_cut_text(run.spec.input)),
        result=None if run.result is None else _cut_text(run.result),
        error=None if run.error is None else _cut_text(run.error),
        shortened=True,
    )


def _cut_text(text: str) -> str:
    return text if len(text) <= MAX_LISTED_TEXT_CHARACTERS else text[: MAX_LISTED_TEXT_CHARACTERS - 1] + "…"


def decide_end(run: Run, result: AttemptResult) -> AttemptResult:
    """Return how a run ends whose attempt ended so: after a request to stop it is cancelled, unless it succeeded."""
    if result.move is not Move.FAIL or not run.cancel_requested:
        return result
    return msgspec.structs.replace(
        result, move=Move.CANCEL, outcome=Outcome.CANCELLED_BY_USER, error=None, prompt_refused=False
    )


def decide_after_interruption(spec: RunSpec, attempt: int, why: str) -> AttemptResult | None:
    """Return how a run with an interrupted attempt ends, or None if it is attempted again."""
    if spec.on_interrupt is OnInterrupt.FAIL:
        return _fail_interrupted(f"interrupted: {why}; its policy is not to retry")
    if attempt >= spec.max_attempts:
        return _fail_interrupted(f"interrupted {attempt} times, which is the limit; last: {why}")
    return None


def _fail_interrupted(error: str) -> AttemptResult:
    return AttemptResult(move=Move.FAIL, outcome=Outcome.INTERRUPTED, error=error)


class AcceptedRun(Struct, frozen=True):
    """A run that is stored, and how that came about."""

    run: Run
    #: False if the idempotency key was used before, or an equal run waits already: `run` is the earlier one then
    is_new: bool
    #: ids of the runs that are asked to stop in favour of this one
    interrupted_runs: tuple[str, ...] = ()


class BatchAction(StrEnum):
    """What is done to many runs at once."""

    CANCEL = "cancel"
    RETRY = "retry"

    @property
    def statuses(self) -> frozenset[Status]:
        """The statuses of the runs to which it can be done."""
        return RUN_MOVES[Move.CANCEL].from_statuses if self is BatchAction.CANCEL else RETRIED_STATUSES


class RunBatch(Struct, frozen=True, kw_only=True):
    """Runs that were chosen to be changed at once."""

    #: their ids
    ids: tuple[str, ...]
    #: whether there are more that could have been chosen
    has_more: bool = False


class RunFilter(Struct, frozen=True, kw_only=True):
    """Which runs to list; None, or no status, matches all."""

    #: runs with one of them
    statuses: tuple[Status, ...] = ()
    agent: str | None = None
    session: str | None = None
    #: a label as `name=value`, or only its name
    label: str | None = None
    source: Source | None = None
    #: id of the run that they are part of
    parent: str | None = None
    #: words that the prompt or the answer has
    text: tuple[SearchTerm, ...] = ()
    #: runs that were created at this time or later, in milliseconds since 1970 UTC
    since: int | None = None
    #: runs that were created before this time, in milliseconds since 1970 UTC; imported ones also came before it
    until: int | None = None
    #: runs to which this can be done, and was not: those that were told to stop, or are retried already, are left out
    open_to: BatchAction | None = None
    #: runs that a limited caller reaches
    reach: Reach | None = None


class RunCounts(Struct, frozen=True, kw_only=True):
    """How many runs a filter matches."""

    by_status: dict[Status, int]
    #: running runs whose agent waits for an answer of a person
    waiting_for_person: int
    #: whether all were counted; if not, there are at least so many
    is_exact: bool
