"""Alerts: what went wrong or ended, the messages that tell of it, and which conditions are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

#: items of one kind and event that a message lists; of more, it has only the number
MAX_LISTED_ALERTS = 5
#: the same with those of further agents, of each of which the first one is listed: none hides another
MAX_LISTED_ALERTS_OF_AGENTS = 15
#: characters of the text of an item
MAX_ALERT_TEXT_CHARACTERS = 300
#: conditions of one kind that are open at the same time; more are not told
MAX_OPEN_ALERTS = 1000
#: the time in which the messages to a receiver are counted
ALERT_RATE_MILLISECONDS = 3_600_000
#: format of the body of an alert that goes to a webhook
ALERT_FORMAT = "alert"


class AlertKind(StrEnum):
    """What an alert is about."""

    #: a run failed
    RUN_FAILED = "run_failed"
    #: times of a schedule were missed, or refused
    SCHEDULE_MISSED = "schedule_missed"
    #: the runs of a schedule failed several times in a row
    SCHEDULE_FAILING = "schedule_failing"
    #: a delivery was given up
    DEAD_LETTER = "dead_letter"
    #: 80 % or all of a daily budget is used
    BUDGET = "budget"
    #: a channel is refused, or has been silent for some time
    CHANNEL = "channel"
    #: the disk with the data has little room left
    DISK = "disk"
    #: the last backup failed, or is too old
    BACKUP = "backup"
    #: serving processes crashed several times in an hour
    CRASH_LOOP = "crash_loop"
    #: a newer version is available
    UPDATE = "update"


class AlertEvent(StrEnum):
    """What an item of a message says of its condition."""

    #: it happened: it has no duration
    HAPPENED = "happened"
    #: it begins
    OPENED = "opened"
    #: it goes on, and is told again
    CONTINUES = "continues"
    #: it is over
    ENDED = "ended"
    #: somebody tries whether alerts arrive
    TEST = "test"


class AlertItem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is told. Kinds and events are plain text: a newer version may have others."""

    kind: str
    event: str
    #: what it is about: the id of an agent, a schedule or a task, or the name of a channel
    subject: str
    text: str
    #: milliseconds since 1970 UTC
    at: int
    #: id of the agent that it belongs to, if any
    agent: str | None = None
    #: id of the run that it belongs to, if any
    run: str | None = None
    #: since when its condition is open
    since: int | None = None


class AlertContent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one message tells: the first items of each kind and event, and how many there were."""

    items: tuple[AlertItem, ...] = ()
    #: by kind and event, with a slash between them
    counts: dict[str, int] = {}

    @property
    def left_out(self) -> int:
        """How many items are counted, but not listed."""
        return sum(self.counts.values()) - len(self.items)

    def add_item(self, item: AlertItem, count: int = 1) -> AlertContent:
        """Return the content with one more item; it is only counted if there are enough of its kind and event.

        Args:
            count: for how many it stands.
        """
        key = f"{item.kind}/{item.event}"
        alike = [one for one in self.items if (one.kind, one.event) == (item.kind, item.event)]
        is_first = item.agent is not None and all(one.agent != item.agent for one in alike)
        has_room = len(alike) < (MAX_LISTED_ALERTS_OF_AGENTS if is_first else MAX_LISTED_ALERTS)
        listed = (*self.items, item) if has_room else self.items
        return AlertContent(items=listed, counts={**self.counts, key: self.counts.get(key, 0) + count})


class AlertMessageStatus(StrEnum):
    """Where a message to a receiver is."""

    #: more items may be added to it
    COLLECTING = "collecting"
    #: it is due, now or after a pause
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class AlertMessage(Struct, frozen=True, kw_only=True):
    """A message to one receiver. Times are milliseconds since 1970 UTC."""

    #: the same at each attempt; also the `webhook-id`
    id: str
    receiver: str
    status: AlertMessageStatus
    content: AlertContent
    #: attempts so far
    attempt: int = 0
    #: when it stops collecting; when it is pending, when the next attempt is due
    next_at: int
    #: why the last attempt failed
    error: str | None = None
    created: int
    #: when it stopped collecting
    released: int | None = None
    #: when it was delivered or given up
    finished: int | None = None


class OpenAlert(Struct, frozen=True, kw_only=True):
    """A condition that is open. Times are milliseconds since 1970 UTC."""

    kind: str
    subject: str
    text: str
    #: grows with how bad it is: a higher level is told again
    level: int = 0
    agent: str | None = None
    opened: int
    #: when a message last told of it
    told: int

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.subject


class AlertState(Struct, frozen=True, kw_only=True):
    """All that is stored about alerts and still matters."""

    #: position of the last change that was seen; None if alerts were never on
    position: int | None
    #: grows with each write: so only one process at a time goes on
    revision: int
    open: Sequence[OpenAlert]
    #: messages that are collecting or pending
    waiting: Sequence[AlertMessage]
    #: when the messages of the last hour stopped collecting, by receiver, oldest first
    released: Mapping[str, Sequence[int]]
    #: what was told as open, but could not be stored: the end of it is told, too
    unstored: Sequence[OpenAlert] = ()


class AlertUpdate(Struct, frozen=True, kw_only=True):
    """What one transaction writes."""

    #: the revision that it is based on
    revision: int
    position: int
    opened: Sequence[OpenAlert] = ()
    #: kinds and subjects of those that ended
    closed: Sequence[tuple[str, str]] = ()
    #: messages that are new or changed
    messages: Sequence[AlertMessage] = ()


def shorten_alert(text: str) -> str:
    """Return a text on one line, and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_ALERT_TEXT_CHARACTERS else f"{line[: MAX_ALERT_TEXT_CHARACTERS - 1]}…"
