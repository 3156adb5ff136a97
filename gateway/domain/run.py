"""A run: one unit of agent work, its states, and the table of its moves.

Everything that makes an agent do something is a run. `docs/architecture.md` shows the diagram that
`diagram` prints from `MOVES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct, field

from gateway.domain import goal
from gateway.domain.budget import Budget
from gateway.domain.delivery import Target
from gateway.domain.event import Usage
from gateway.errors import Conflict


class Source(StrEnum):
    """Which door a run came in by."""

    MESSAGE = "message"
    AGENT = "agent"
    TASK = "task"
    #: a task that was assigned: it holds a slot of its agent until it ends
    ASSIGN = "assign"
    #: handed in to be done behind others: such runs have a limit of their own, over all agents
    BACKGROUND = "background"
    CRON = "cron"
    HOOK = "hook"
    WEBHOOK = "webhook"
    OPENAI = "openai"
    #: another agent asked, by its tools
    MCP = "mcp"


class Mode(StrEnum):
    """How an agent is asked."""

    #: once
    TURN = "turn"
    #: again and again in its session, until the goal is reached
    GOAL = "goal"


class Status(StrEnum):
    #: on disk, and not yet asked to run
    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})


class Outcome(StrEnum):
    """Why a run ended as it did."""

    COMPLETED = "completed"
    AGENT_ERROR = "agent_error"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    CANCELLED_BY_USER = "cancelled_by_user"
    OVER_BUDGET = "over_budget"


class OnInterrupt(StrEnum):
    """What becomes of a run that a crash or a stop cut short."""

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


class _Row(NamedTuple):
    sources: frozenset[Status]
    target: Status


#: the only moves there are; a final status has no way out
MOVES: Mapping[Move, _Row] = {
    Move.RELEASE: _Row(frozenset({Status.HELD}), Status.QUEUED),
    Move.CLAIM: _Row(frozenset({Status.QUEUED}), Status.RUNNING),
    Move.SUCCEED: _Row(frozenset({Status.RUNNING}), Status.SUCCEEDED),
    Move.FAIL: _Row(frozenset({Status.RUNNING}), Status.FAILED),
    Move.CANCEL: _Row(frozenset({Status.HELD, Status.QUEUED, Status.RUNNING}), Status.CANCELLED),
    Move.REQUEUE: _Row(frozenset({Status.RUNNING}), Status.QUEUED),
    Move.ABANDON: _Row(frozenset({Status.QUEUED}), Status.FAILED),
    Move.REFUSE: _Row(frozenset({Status.QUEUED}), Status.FAILED),
}


def target(status: Status, move: Move) -> Status:
    """Return the status that a move leads to.

    Raises:
        Conflict: a run in that status cannot make that move.
    """
    row = MOVES[move]
    if status not in row.sources:
        raise Conflict(f"cannot {move} a run that is {status}")
    return row.target


def diagram() -> str:
    """Return the table of moves as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {Status.QUEUED}: submit", f"    [*] --> {Status.HELD}: hold"]
    for move, row in MOVES.items():
        lines += [f"    {source} --> {row.target}: {move}" for source in sorted(row.sources)]
    lines += [f"    {status} --> [*]" for status in sorted(FINAL)]
    return "\n".join(lines) + "\n"


#: how many times a run is tried in all, when crashes cut it short
MAX_ATTEMPTS = 3
#: how many times an agent is asked at the most until its goal is reached
MAX_ROUNDS = 10


class RunSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be done: all that a front door says about a run."""

    source: Source
    #: id of the agent
    agent: str
    #: key of the session, `agent:channel:chat`
    session: str
    input: str
    mode: Mode = Mode.TURN
    #: of a goal
    max_rounds: int = MAX_ROUNDS
    #: not to be done until it is released
    held: bool = False
    #: its session ends with it
    ephemeral: bool = False
    model: str | None = None
    #: seconds; None means the agent's own
    timeout: float | None = None
    #: higher goes first within an agent; sessions stay first come, first served
    priority: int = 0
    #: not before this moment, in milliseconds since 1970 UTC
    run_at: int | None = None
    #: where word of its end goes
    deliver: tuple[Target, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    #: of the schedule whose run this is, which the label `schedule` names
    budget: Budget | None = None
    #: id of the run that this one belongs to
    parent: str | None = None
    #: id of the run that this one tries again
    retry_of: str | None = None
    #: how many runs stand above it, each of which had its agent ask this gateway for the next
    depth: int = 0
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    max_attempts: int = MAX_ATTEMPTS

    @property
    def schedule(self) -> str | None:
        """The id of the schedule whose run this is."""
        return self.labels.get("schedule") if self.source is Source.CRON else None

    def prompt(self, number: int) -> str:
        """Return what the agent is told in a round, counted from 1; in turn mode there is only one."""
        return goal.prompt(self.input, number, self.max_rounds) if self.mode is Mode.GOAL else self.input


class Run(Struct, frozen=True, kw_only=True):
    """A run as the store knows it. Times are milliseconds since 1970 UTC."""

    id: str
    #: order of acceptance
    seq: int
    spec: RunSpec
    status: Status
    outcome: Outcome | None = None
    #: tries so far, the present one included
    attempt: int = 0
    #: raised by each claim; a write that carries an older one is refused
    epoch: int = 0
    #: which process works on it, while it is running
    owner: str | None = None
    cancel_requested: bool = False
    #: number of the last event in its log
    last_event: int = 0
    result: str | None = None
    usage: Usage = Usage()
    error: str | None = None
    #: of a goal: rounds that came to their end, the last one included, whatever end that was
    rounds: int | None = None
    #: of a goal that ended: whether it was reached
    done: bool | None = None
    created: int
    started: int | None = None
    finished: int | None = None


class Verdict(Struct, frozen=True, kw_only=True):
    """How an attempt ended."""

    move: Move
    outcome: Outcome
    result: str | None = None
    error: str | None = None
    #: of this attempt's last round, in goal mode; else of the attempt
    usage: Usage = Usage()
    #: of a goal: the round that the run ended in
    rounds: int | None = None
    done: bool | None = None


class Round(Struct, frozen=True, kw_only=True):
    """A round of a goal that did not reach it."""

    #: counted from 1
    number: int
    reply: str
    usage: Usage


def after_interruption(spec: RunSpec, attempt: int, why: str) -> Verdict | None:
    """Decide about a run whose attempt was cut short: None to try again, or how it ends."""
    if spec.on_interrupt is OnInterrupt.FAIL:
        return _interrupted(f"interrupted: {why}; its policy is not to try again")
    if attempt >= spec.max_attempts:
        return _interrupted(f"interrupted {attempt} times, which is the limit; last: {why}")
    return None


def _interrupted(error: str) -> Verdict:
    return Verdict(move=Move.FAIL, outcome=Outcome.INTERRUPTED, error=error)


class Accepted(Struct, frozen=True):
    """A run that is on disk."""

    run: Run
    #: False when the idempotency key had been used, or another one stands for it: the run is the earlier one
    fresh: bool
    #: runs that `SessionMode.INTERRUPT` asked to stop
    interrupted: tuple[str, ...] = ()


class RunFilter(Struct, frozen=True, kw_only=True):
    """Which runs to list; a None matches all."""

    status: Status | None = None
    agent: str | None = None
    session: str | None = None
    #: a label as `name=value`, or a name alone
    label: str | None = None
