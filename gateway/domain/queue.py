"""The queue as numbers: what may run, what waits, and why."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from gateway.domain.budget import Budget


class Admission(Struct, frozen=True, kw_only=True):
    """What the transaction that accepts a run looks at beside the run."""

    #: slots of its agent: as many runs that were assigned to it may be queued or running
    slots: int
    #: whether the agent is in the store: it must still be there and enabled, and its slots are as stored
    stored: bool
    #: whether a run that waits in the session with the same input stands for this one
    coalesce: bool = False


class Load(Struct, frozen=True, kw_only=True):
    """How many runs of an agent there are."""

    running: int = 0
    queued: int = 0
    #: those of them, queued or running, that were assigned
    slots: int = 0


class Obstacles(Struct, frozen=True, kw_only=True):
    """What stands before a queued run."""

    #: not before this moment, in milliseconds since 1970 UTC
    due: int | None
    #: id of the run of its session that goes first
    before: str | None
    #: runs at work: of its agent, over all agents, and of those the ones of source `background`
    working: int
    total: int
    background: int
    #: which budget it waits for, in words
    budget: str | None
    #: when budgets do, in milliseconds since 1970 UTC
    begins_anew: int


class Limits(Struct, frozen=True, kw_only=True):
    """How many runs may be running, counted inside the claim's transaction."""

    #: over all agents
    total: int
    #: per agent; an agent that is not named here gets none
    agents: Mapping[str, int]
    #: those of source `background`, over all agents; None leaves them to the other limits
    background: int | None = None
    #: what agents may use in a day; an agent that is not named here has no limit
    budgets: Mapping[str, Budget] = field(default_factory=dict)


class Backlog(Struct, frozen=True, kw_only=True):
    """How many runs of source `background` there are."""

    active: int
    queued: int
    total: int


class Counts(Struct, frozen=True, kw_only=True):
    """Totals for health, metrics and status."""

    queued: int
    running: int
    #: runs that ended since the time asked for, by status
    ended: Mapping[str, int]
    sessions: int
