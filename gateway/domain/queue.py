"""The queue in numbers: how many runs may be running, how many wait, and why."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from gateway.domain.agent import SessionMode
from gateway.domain.budget import Budget
from gateway.errors import InvalidRequest


class AdmissionRules(Struct, frozen=True, kw_only=True):
    """What a run must satisfy to be accepted; checked in the transaction that accepts it."""

    #: slots of its agent: how many assigned runs may be queued or running
    slots: int
    #: whether the agent is stored: then it must still exist and be enabled, and its stored number of slots counts
    stored: bool
    #: whether a run that waits in the session with the same input takes the place of this one
    coalesce: bool = False
    #: what happens if the run's session is busy
    session_mode: SessionMode = SessionMode.QUEUE
    #: why it is refused, unless an earlier request with its idempotency key was accepted
    refusal: InvalidRequest | None = None


class AgentLoad(Struct, frozen=True, kw_only=True):
    """How many unfinished runs an agent has."""

    running: int = 0
    queued: int = 0
    #: queued or running runs that were assigned
    slots: int = 0


class RunBlockers(Struct, frozen=True, kw_only=True):
    """What keeps a queued run from starting."""

    #: it must not start before this moment, in milliseconds since 1970 UTC
    not_before: int | None
    #: id of the run of its session that must finish first
    earlier_run: str | None
    #: runs in progress: of its agent, of all agents, and of all agents with source `background`
    running_of_agent: int
    running_in_all: int
    running_in_background: int
    #: why a budget makes it wait, in words for people
    budget_wait: str | None
    #: when budgets reset, in milliseconds since 1970 UTC
    budget_resets_at: int


class RunLimits(Struct, frozen=True, kw_only=True):
    """How many runs may be running; checked in the transaction that claims runs."""

    #: for all agents together
    total: int
    #: for each agent; an agent that is not in it gets no runs
    agents: Mapping[str, int]
    #: for runs of source `background`, of all agents together; None means that only the other limits apply
    background: int | None = None
    #: daily budget of each agent; an agent that is not in it has none
    budgets: Mapping[str, Budget] = field(default_factory=dict)


class BackgroundCounts(Struct, frozen=True, kw_only=True):
    """How many runs of source `background` there are: active, queued, and in all with the finished ones."""

    active: int
    queued: int
    total: int


class GatewayCounts(Struct, frozen=True, kw_only=True):
    """Totals for health, metrics and status."""

    queued: int
    running: int
    #: runs that ended since the time asked for, by status
    ended: Mapping[str, int]
    sessions: int
