"""What a condition is: something that is looked at again and again, and that opens, continues, ends or just happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from msgspec import Struct, field

from gateway.domain.alert import AlertKind, OpenAlert
from gateway.domain.event import Change
from gateway.domain.ports.store import Store
from gateway.domain.run import Run
from gateway.domain.schedule import Schedule
from gateway.domain.times import Clock
from gateway.engine.messaging.channels import Channels
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.usage import UsageReporter

#: schedules that are read at once
SCHEDULES_PER_QUERY = 100


def name_schedule(schedule: Schedule) -> str:
    """Return what people call a schedule: its name, or its id if it has none."""
    return f'"{schedule.spec.name}"' if schedule.spec.name else schedule.id


class AlertLimits(Struct, frozen=True, kw_only=True):
    """How bad things must be before they are told."""

    schedule_failures: int = 3
    channel_minutes: float = 5.0
    disk_free_mb: int = 1024
    #: hours after which a backup is too old; None if backups are no alert
    backup_hours: float | None = None
    crashes: int = 3


class AlertSources(Struct, frozen=True, kw_only=True):
    """What conditions look at."""

    store: Store
    agents: Agents
    usage: UsageReporter
    channels: Channels
    #: returns the key of the session into which the runs of a schedule go; None if they would be refused
    find_session: Callable[[Schedule], str | None]
    #: the state directory, and the one with the data
    home: Path
    data_directory: Path
    limits: AlertLimits
    clock: Clock

    async def find_schedules(self, ids: Sequence[str]) -> Mapping[str, Schedule | None]:
        """Return the schedules with these ids that there are, by id; None for one that cannot be read."""
        found: dict[str, Schedule | None] = {}
        for start in range(0, len(ids), SCHEDULES_PER_QUERY):  # each may be large
            found |= await self.store.schedules.read_some(ids[start : start + SCHEDULES_PER_QUERY])
        return found

    def find_agent(self, schedule: Schedule) -> str | None:
        """Return the id of the agent that works for a schedule: that of its session, or the default agent."""
        session = self.find_session(schedule)
        return schedule.spec.agent if session is None else session.partition(":")[0]


class News(Struct, frozen=True, kw_only=True):
    """What has changed since the last look, as far as it may be trouble."""

    changes: Sequence[Change] = ()
    #: the runs that failed
    failed_runs: Sequence[Run] = ()


class Situation(Struct, frozen=True, kw_only=True):
    """What a condition is told when it looks."""

    #: milliseconds since 1970 UTC
    now: int
    news: News
    #: what is open of its kind, by subject
    open: Mapping[str, OpenAlert]


class Happening(Struct, frozen=True, kw_only=True):
    """Something that has happened, and has no duration."""

    subject: str
    text: str
    #: milliseconds since 1970 UTC
    at: int
    agent: str | None = None
    #: the run that it is about; its labels and source are matched with what receivers want
    run: Run | None = None


class Finding(Struct, frozen=True, kw_only=True):
    """A condition that is open."""

    subject: str
    text: str
    #: grows with how bad it is: a higher level than before is told again
    level: int = 0
    agent: str | None = None


class Look(Struct, frozen=True, kw_only=True):
    """What a condition has seen. Subjects that it does not name stay as they are."""

    happened: Sequence[Happening] = ()
    open: Sequence[Finding] = ()
    #: what to say of those that have ended, by subject
    ended: Mapping[str, str] = field(default_factory=dict)


class Condition(Protocol):
    """Looks at one kind of trouble. It is created with the sources when this process begins to lead."""

    kind: ClassVar[AlertKind]
    #: seconds between two looks without news; None if it makes none
    interval_seconds: ClassVar[float | None]
    #: whether it sees trouble only in the news: then it looks when there is some, and again if a look fails
    needs_news: ClassVar[bool]

    def __init__(self, sources: AlertSources) -> None: ...

    async def look(self, situation: Situation) -> Look:
        """Return what is to be seen now. An error is logged, and the next look comes all the same."""
        ...
