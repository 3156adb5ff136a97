"""A schedule: what is to be done at its times, and what becomes of those that were missed."""

from __future__ import annotations

import zlib
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct, field

from gateway.domain import cron
from gateway.domain.budget import Budget
from gateway.domain.delivery import Target
from gateway.domain.run import RunSpec

#: milliseconds after which a time was missed; before, it is only late
LATE = 60_000


class Misfire(StrEnum):
    """What becomes of times at which no gateway was there."""

    SKIP = "skip"
    #: the newest is made up for
    ONCE = "once"
    ALL = "all"


class FireOutcome(StrEnum):
    #: it became a run
    FIRED = "fired"
    #: somebody asked for it
    TRIGGERED = "triggered"
    MISSED = "missed"
    #: its agent is gone or disabled
    REFUSED = "refused"


class ScheduleSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that somebody says about a schedule."""

    name: str = ""
    #: a cron expression, `every 15m`, or an RFC 3339 time
    expression: str
    #: IANA name of the zone that a cron expression is meant in
    timezone: str = "UTC"
    input: str
    #: id or slug; the default agent when not set
    agent: str | None = None
    #: a name or a full key; its own when not set
    session: str | None = None
    #: a new session each time
    fresh: bool = False
    model: str | None = None
    #: seconds; None means the agent's own
    timeout: float | None = None
    deliver: tuple[Target, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    misfire: Misfire = Misfire.ONCE
    #: seconds after which a missed time is not made up for
    max_age: float | None = None
    #: seconds that a run may begin later, at random
    jitter: float = 0.0
    #: failures in a row after which it is disabled; 0 never does
    max_failures: int = 0
    #: what its runs may use in a day, beside the budget of their agent
    budget: Budget | None = None


class Schedule(Struct, frozen=True, kw_only=True):
    """A schedule as the store knows it. Times are milliseconds since 1970 UTC."""

    id: str
    #: order of creation
    seq: int = 0
    spec: ScheduleSpec
    enabled: bool = True
    #: why it was disabled, unless by hand
    reason: str | None = None
    #: raised by each edit
    revision: int = 1
    #: what an interval counts from
    anchor: int
    #: its next time; None if there is none
    next_at: int | None
    last_at: int | None = None
    #: id of the last run
    last_run: str | None = None
    #: status of the last run
    last_status: str | None = None
    #: in a row
    failures: int = 0
    #: times that were missed, since it was made
    missed: int = 0
    created: int
    updated: int

    @property
    def timing(self) -> cron.Timing:
        return cron.parse(self.spec.expression, self.spec.timezone)


class Fire(Struct, frozen=True, kw_only=True):
    """One time of a schedule and what became of it. Times are milliseconds since 1970 UTC."""

    scheduled_for: int
    at: int
    outcome: FireOutcome
    #: id of the run that it became
    run: str | None = None
    #: status of that run, while it is kept
    status: str | None = None
    error: str | None = None


class Due(NamedTuple):
    """What is to become of times that have come."""

    fire: tuple[int, ...]
    #: those that are told one by one
    missed: tuple[int, ...]
    #: how many were missed
    number: int
    next_at: int | None


class Firing(Struct, frozen=True, kw_only=True):
    """What one transaction does about a schedule whose time has come."""

    schedule: Schedule
    #: the times that become runs
    runs: tuple[tuple[int, RunSpec], ...] = ()
    missed: tuple[int, ...] = ()
    #: how many were missed
    count: int = 0
    #: times that cannot become runs, and why
    refused: tuple[int, ...] = ()
    error: str | None = None
    #: its next time; without one it is disabled, for the reason that `error` says
    next_at: int | None = None


def due(schedule: Schedule, now: int) -> Due:
    """Decide about the times of a schedule from its next one to now, by its policy."""
    assert schedule.next_at is not None, "only a schedule with a next time is due"
    timing, spec = schedule.timing, schedule.spec
    found, counted = timing.upto(schedule.next_at, now, schedule.anchor)
    oldest = 0 if spec.max_age is None else now - max(round(spec.max_age * 1000), LATE)
    match spec.misfire:
        case Misfire.ALL:
            fire = tuple(time for time in found if time >= oldest)
        case Misfire.ONCE:
            fire = tuple(time for time in found[-1:] if time >= oldest)
        case Misfire.SKIP:
            fire = tuple(time for time in found[-1:] if time > now - LATE)
    missed = tuple(time for time in found if time not in fire)
    if counted is None or counted > len(found):  # the first one tells since when
        missed = (schedule.next_at, *missed)
    count = len(missed) if counted is None else counted - len(fire)
    return Due(fire, missed, count, timing.after(now, schedule.anchor))


def begin(schedule: str, time: int, jitter: float) -> int | None:
    """Return when the run of a time may begin; None for at once. The same for the same time, however often asked."""
    if jitter <= 0:
        return None
    share = zlib.crc32(f"{schedule} {time}".encode()) / (1 << 32)
    return time + round(jitter * 1000 * share)
