"""A delivery: something to send out when a run has ended, and its tries."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

#: the kind of targets that are URLs; every other kind is a channel's name
WEBHOOK = "webhook"
#: the format of what people read in a chat
CHAT = "chat"
#: the format of what is posted to the address that a command of Slack names
SLACK = "slack"

#: seconds to wait before each try; when the last one fails, the delivery is dead
SCHEDULE = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
#: seconds to wait before a try at the most, whatever the settings say
LONGEST_WAIT = 604_800.0
#: the part of a wait that is left to chance, so that what failed together does not come back together
JITTER = 0.1
#: seconds that a receiver may ask us to stay away at the most
LONGEST_STAY = 86_400.0
#: characters that are kept of what went wrong
ERROR_LENGTH = 500


class Target(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where word of a run's end goes."""

    #: `webhook`, or a channel's name
    kind: str
    #: a URL, or a chat's id
    address: str
    #: which body is sent: `task`, `xitto`, `openclaw`, `slack` or `chat`
    format: str = "task"
    #: whether the address comes from the configuration, and not from a caller
    trusted: bool = False
    #: what a webhook is signed with where its caller said so: `whsec_` and base64
    secret: str = ""

    @property
    def receiver(self) -> str:
        """Who takes it: deliveries to one receiver wait for each other, not for those to another."""
        if self.kind != WEBHOOK:
            return f"{self.kind}:{self.address}"
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}".lower()


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Delivery(Struct, frozen=True, kw_only=True):
    """A delivery as the store knows it. Times are milliseconds since 1970 UTC."""

    #: also the `webhook-id`, the same with each try
    id: str
    #: order of creation
    seq: int
    #: id of the run whose end is told
    run: str
    target: Target
    status: DeliveryStatus
    #: tries so far, the present one included; from 0 again when it is retried by hand
    attempt: int = 0
    #: when it is sent next, while it is pending
    next_at: int
    #: why the last try failed
    error: str | None = None
    created: int
    #: when it was delivered, or given up
    finished: int | None = None


class Delivered(Struct, frozen=True):
    """The receiver has it."""


class TryAgain(Struct, frozen=True):
    """It was not taken, and may be later."""

    why: str
    #: seconds that the receiver asked us to stay away
    after: float = 0.0


class Never(Struct, frozen=True):
    """It will not be taken, however often it is tried."""

    why: str


Receipt = Delivered | TryAgain | Never


def backoff(schedule: Sequence[float], attempt: int, chance: float) -> float | None:
    """Return the seconds to wait before a try; None when there is none left.

    Args:
        attempt: the number of the try, from 1.
        chance: from 0 to 1; the middle leaves the schedule as it is.
    """
    if attempt > len(schedule):
        return None
    return schedule[attempt - 1] * (1 + JITTER * (2 * chance - 1))


def after(
    delivery: Delivery, receipt: Receipt, now: int, chance: float, schedule: Sequence[float] = SCHEDULE
) -> Delivery:
    """Return what becomes of a delivery that was just sent."""
    if isinstance(receipt, Delivered):
        return msgspec.structs.replace(delivery, status=DeliveryStatus.DELIVERED, error=None, finished=now)
    error = receipt.why[:ERROR_LENGTH]
    wait = None if isinstance(receipt, Never) else backoff(schedule, delivery.attempt + 1, chance)
    if wait is None:
        return msgspec.structs.replace(delivery, status=DeliveryStatus.DEAD, error=error, finished=now)
    asked = min(receipt.after, LONGEST_STAY) if isinstance(receipt, TryAgain) else 0.0
    next_at = now + round(max(wait, asked) * 1000)
    return msgspec.structs.replace(delivery, status=DeliveryStatus.PENDING, error=error, next_at=next_at)


class DeliveryFilter(Struct, frozen=True, kw_only=True):
    """Which deliveries to list; a None matches all."""

    status: DeliveryStatus | None = None
    #: id of the run whose end they tell
    run: str | None = None


class DeliveryCounts(Struct, frozen=True, kw_only=True):
    """How many deliveries are not delivered."""

    #: waiting or on their way
    pending: int
    #: given up
    dead: int
