"""A schedule: work to do at its times, and the policy for times that were missed."""

from __future__ import annotations

import zlib
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import Struct, field

from gateway.domain import cron
from gateway.domain.budget import Budget
from gateway.domain.delivery import Target
from gateway.domain.file import File
from gateway.domain.queue import AdmissionRules
from gateway.domain.run import RunSpec

#: milliseconds after which a time counts as missed; until then it is only late
MISFIRE_GRACE_MILLISECONDS = 60_000


#: runs of one schedule that may wait, whatever its policy is
MAX_WAITING_RUNS_PER_SCHEDULE = 100
#: how many times that were skipped one after the other are listed, in addition to the first one
MAX_LISTED_SKIPS = 100

#: fields of a spec that say what a run does: failures of before such a field changed say nothing about the next run
_RUN_FIELDS = ("input", "attachments", "agent", "session", "fresh", "model", "timeout")


class Misfire(StrEnum):
    """What happens to times at which no gateway was running."""

    SKIP = "skip"
    #: run once, for the newest of them
    ONCE = "once"
    ALL = "all"


class Overlap(StrEnum):
    """What happens at a time while earlier runs of the schedule have not ended."""

    #: its run waits, too
    QUEUE = "queue"
    #: its run waits, unless one waits already: then the time is skipped
    QUEUE_ONE = "queue_one"
    #: the time is skipped
    SKIP = "skip"
    #: the earlier runs are cancelled
    REPLACE = "replace"


class FireOutcome(StrEnum):
    #: it became a run on time or late
    FIRED = "fired"
    #: somebody asked for the run
    TRIGGERED = "triggered"
    MISSED = "missed"
    #: earlier runs of the schedule had not ended
    SKIPPED = "skipped"
    #: its agent does not exist, is disabled, or refuses the run because its session is busy; or a file is gone
    REFUSED = "refused"


class ScheduleSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The definition of a schedule, as its author gave it."""

    name: str = ""
    #: a cron expression, `every 15m`, or an RFC 3339 time
    expression: str
    #: IANA name of the time zone of a cron expression
    timezone: str = "UTC"
    input: str
    #: files that belong to the input
    attachments: tuple[File, ...] = ()
    #: id or slug of an agent; the default agent when not set
    agent: str | None = None
    #: name or full key of a session; a session of its own when not set
    session: str | None = None
    #: whether each run has a new session
    fresh: bool = False
    model: str | None = None
    #: in seconds; None means the agent's timeout
    timeout: float | None = None
    deliver: tuple[Target, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    misfire: Misfire = Misfire.ONCE
    #: what happens while earlier runs have not ended; when not set, what `overlap_policy` says
    overlap: Overlap | None = None
    #: age in seconds beyond which a missed time is not run any more
    max_age: float | None = None
    #: longest random delay of a run, in seconds
    jitter: float = 0.0
    #: failures in a row after which it is disabled; 0 means never
    max_failures: int = 0
    #: daily limits of its runs, in addition to the budget of their agent
    budget: Budget | None = None

    @property
    def timing(self) -> cron.Timing:
        """Return the expression, parsed.

        Raises:
            InvalidRequest: it cannot be read, or its zone is not known here.
        """
        return cron.parse_expression(self.expression, self.timezone)

    @property
    def overlap_policy(self) -> Overlap:
        """Return `overlap`. By default, no time is skipped that is the only one, or that `misfire` makes up for."""
        each_counts = self.misfire is Misfire.ALL or cron.is_single_time(self.expression)
        return self.overlap or (Overlap.QUEUE if each_counts else Overlap.QUEUE_ONE)


class Schedule(Struct, frozen=True, kw_only=True):
    """A stored schedule. Times are milliseconds since 1970 UTC."""

    id: str
    #: grows with each schedule
    seq: int = 0
    spec: ScheduleSpec
    enabled: bool = True
    #: why it was disabled; None if somebody did it by hand
    reason: str | None = None
    #: each edit increments it
    revision: int = 1
    #: the moment that an interval counts from
    anchor: int
    #: its next time; None if there is none
    next_at: int | None
    last_at: int | None = None
    #: id of the last run
    last_run: str | None = None
    #: status of the last run
    last_status: str | None = None
    #: failures in a row
    failures: int = 0
    #: times that were missed since it was created
    missed: int = 0
    #: times that were skipped since it was created
    skipped: int = 0
    #: why the last of them was skipped
    skip_reason: str | None = None
    created: int
    updated: int

    @property
    def timing(self) -> cron.Timing:
        return self.spec.timing

    @property
    def has_ended(self) -> bool:
        """Return whether it was disabled because none of its times is left."""
        return not self.enabled and self.reason is not None and self.next_at is None

    @property
    def has_failed(self) -> bool:
        """Return whether it was disabled because its runs failed."""
        return not self.enabled and self.reason is not None and self.next_at is not None


class FireRecord(Struct, frozen=True, kw_only=True):
    """One time of a schedule and its outcome. Times are milliseconds since 1970 UTC."""

    scheduled_for: int
    at: int
    outcome: FireOutcome
    #: id of its run
    run: str | None = None
    #: status of its run, as long as the run is kept
    status: str | None = None
    error: str | None = None


class ScheduleFires(Struct, frozen=True, kw_only=True):
    """The last fires of a schedule."""

    #: the schedule's id, and its order of creation
    id: str
    seq: int
    #: oldest first
    fires: tuple[FireRecord, ...]


class MissedFires(NamedTuple):
    """The times of a schedule that were missed or refused, of those that were noted in a range of moments."""

    #: id of the schedule
    schedule: str
    #: the one that was noted last
    newest: FireRecord
    #: how many there are
    total: int


class FireDecision(NamedTuple):
    """What to do about the times of a schedule that are due."""

    #: times to run
    fire_times: tuple[int, ...]
    #: missed times to record one by one
    missed_times: tuple[int, ...]
    #: how many times were missed in all
    missed_count: int
    next_at: int | None


class PlannedRun(Struct, frozen=True, kw_only=True):
    """The run that a time of a schedule becomes, if it is accepted."""

    time: int
    spec: RunSpec
    admission: AdmissionRules | None = None


class FirePlan(Struct, frozen=True, kw_only=True):
    """All that one transaction stores for a schedule that is due."""

    schedule: Schedule
    #: runs of the times to run
    runs: tuple[PlannedRun, ...] = ()
    #: missed times to record one by one
    missed_times: tuple[int, ...] = ()
    #: how many times were missed in all
    missed_count: int = 0
    #: times that cannot be run; `error` says why
    refused_times: tuple[int, ...] = ()
    error: str | None = None
    #: its next time; None disables it, for the reason in `error`
    next_at: int | None = None


def decide_fires(schedule: Schedule, now: int) -> FireDecision:
    """Decide which of the times from the next one until now are run and which are missed, by the schedule's policy."""
    assert schedule.next_at is not None, "only a schedule with a next time can be due"
    timing, spec = schedule.timing, schedule.spec
    found, counted = timing.collect_due_times(schedule.next_at, now, schedule.anchor)
    oldest = 0 if spec.max_age is None else now - max(round(spec.max_age * 1000), MISFIRE_GRACE_MILLISECONDS)
    match spec.misfire:
        case Misfire.ALL:
            fire = tuple(time for time in found if time >= oldest)
        case Misfire.ONCE:
            fire = tuple(time for time in found[-1:] if time >= oldest)
        case Misfire.SKIP:
            fire = tuple(time for time in found[-1:] if time > now - MISFIRE_GRACE_MILLISECONDS)
    missed = tuple(time for time in found if time not in fire)
    if counted is None or counted > len(found):  # the first missed time is recorded too: it shows since when
        missed = (schedule.next_at, *missed)
    count = len(missed) if counted is None else counted - len(fire)
    return FireDecision(fire, missed, count, timing.next_after(now, schedule.anchor))


def explain_skip(policy: Overlap, waiting: int, running: int) -> str | None:
    """Return why a time is skipped, or None if its run is started.

    Args:
        waiting: queued runs of the schedule.
        running: running runs of the schedule.
    """
    match policy:
        case Overlap.SKIP if waiting or running:
            return "an earlier run of this schedule has not ended"
        case Overlap.QUEUE_ONE if waiting:
            return "an earlier run of this schedule is still waiting"
        case Overlap.QUEUE if waiting >= MAX_WAITING_RUNS_PER_SCHEDULE:
            return f"{waiting} earlier runs of this schedule are still waiting"
    return None


def apply_edit(schedule: Schedule, edited: ScheduleSpec, anchor: int, next_at: int | None) -> Schedule:
    """Return a schedule with another spec.

    It is enabled again if the edit removes the reason for which it was disabled by itself: it has a time again, its
    runs do something else than those that failed, or it may fail more often. Disabled by hand, it stays disabled.

    Args:
        anchor: the moment that an interval counts from now on.
        next_at: the next time by the new spec; None if there is none.
    """
    runs_change = any(getattr(edited, name) != getattr(schedule.spec, name) for name in _RUN_FIELDS)
    failures = 0 if runs_change else schedule.failures
    may_fail_more = edited.max_failures == 0 or failures < edited.max_failures
    changed = msgspec.structs.replace(schedule, spec=edited, anchor=anchor, failures=failures)
    if next_at is not None and (schedule.has_ended or (schedule.has_failed and may_fail_more)):
        return msgspec.structs.replace(changed, enabled=True, reason=None, failures=0, next_at=next_at)
    return msgspec.structs.replace(changed, next_at=next_at)


def apply_jitter(schedule: str, time: int, jitter: float) -> int | None:
    """Return the earliest start of the run of a time, or None for now. Equal arguments give equal results."""
    if jitter <= 0:
        return None
    share = zlib.crc32(f"{schedule} {time}".encode()) / (1 << 32)
    return time + round(jitter * 1000 * share)
