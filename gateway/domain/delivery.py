"""A delivery: a message to send when a run has ended, and its attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from gateway.domain.reach import Reach

#: kind of a target that is a URL; every other kind is the name of a channel
WEBHOOK_KIND = "webhook"
#: format of a reply that people read in a chat
CHAT_FORMAT = "chat"
#: format of a reply to the `response_url` of a Slack command
SLACK_FORMAT = "slack"

#: seconds to wait before each attempt; when the last attempt fails, the delivery is dead
DELIVERY_RETRY_DELAYS_SECONDS = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
#: longest wait before an attempt, in seconds, whatever the settings say
MAX_RETRY_DELAY_SECONDS = 604_800.0
#: the share of a wait that is random, so that deliveries that failed together do not return together
RETRY_JITTER_SHARE = 0.1
#: longest wait that a receiver may ask for, in seconds
MAX_RETRY_AFTER_SECONDS = 86_400.0
#: how the error of an attempt begins that the address policy refused
REFUSED_PREFIX = "refused: "
#: bytes of a file that a chat takes in a second, at least: a slower line is given up
MIN_CHAT_UPLOAD_BYTES_PER_SECOND = 20_000
#: attempts that are kept of a delivery, the newest ones
MAX_KEPT_ATTEMPTS = 50
#: characters of an error that are stored
MAX_DELIVERY_ERROR_CHARACTERS = 500


class Target(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the result of a run is sent."""

    #: `webhook`, or the name of a channel
    kind: str
    #: a URL, or the id of a chat
    address: str
    #: format of the body: `task`, `xitto`, `openclaw`, `slack` or `chat`
    format: str = "task"
    #: whether the address comes from the configuration rather than from a caller
    trusted: bool = False
    #: the caller's own signing secret for a webhook: `whsec_` and base64
    secret: str = ""

    @property
    def receiver(self) -> str:
        """Return the key that groups deliveries: the origin of a URL, or a channel with its chat.

        The number of deliveries in flight is limited for each receiver, so a slow receiver does not delay the others.
        """
        if self.kind != WEBHOOK_KIND:
            return f"{self.kind}:{self.address}"
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}".lower()


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Delivery(Struct, frozen=True, kw_only=True):
    """A stored delivery. Times are milliseconds since 1970 UTC."""

    #: also the `webhook-id`, which is the same at each attempt
    id: str
    #: grows with each delivery
    seq: int
    #: id of the run whose result is sent
    run: str
    target: Target
    status: DeliveryStatus
    #: attempts so far, including the current one; starts again at 0 when somebody retries it
    attempt: int = 0
    #: when the next attempt is due, while it is pending
    next_at: int
    #: why the last attempt failed
    error: str | None = None
    created: int
    #: when it was delivered or given up
    finished: int | None = None


class DeliveryAttempt(Struct, frozen=True, kw_only=True):
    """How an attempt to send a delivery went."""

    #: from 1, over all retries; the store counts
    number: int = 0
    #: when it began, in milliseconds since 1970 UTC; of an interrupted attempt, when that was found
    at: int
    #: milliseconds; None if it was interrupted, because its process ended
    took: int | None
    #: status of the receiver's answer; None if there was none, or if it is a chat
    http_status: int | None = None
    #: why it failed; None if the receiver accepted it
    error: str | None = None


class Delivered(Struct, frozen=True):
    """The receiver accepted it."""

    #: status of the receiver's answer, if it gave one
    http_status: int | None = None


class RetryLater(Struct, frozen=True):
    """The attempt failed; a later one may succeed."""

    reason: str
    #: seconds that the receiver asked us to wait
    retry_after: float = 0.0
    http_status: int | None = None


class PermanentFailure(Struct, frozen=True):
    """The attempt failed, and every other one would fail too."""

    reason: str
    http_status: int | None = None


SendResult = Delivered | RetryLater | PermanentFailure


def compute_backoff(schedule: Sequence[float], attempt: int, chance: float) -> float | None:
    """Return the seconds to wait before an attempt, or None if no attempt is left.

    Args:
        attempt: number of the attempt, from 1.
        chance: a random number from 0 to 1; with 0.5 the wait is exactly as scheduled.
    """
    if attempt > len(schedule):
        return None
    return schedule[attempt - 1] * (1 + RETRY_JITTER_SHARE * (2 * chance - 1))


def apply_send_result(
    delivery: Delivery,
    result: SendResult,
    now: int,
    chance: float,
    schedule: Sequence[float] = DELIVERY_RETRY_DELAYS_SECONDS,
) -> Delivery:
    """Return a delivery as it is after an attempt to send it."""
    if isinstance(result, Delivered):
        return msgspec.structs.replace(delivery, status=DeliveryStatus.DELIVERED, error=None, finished=now)
    error = result.reason[:MAX_DELIVERY_ERROR_CHARACTERS]
    wait = None if isinstance(result, PermanentFailure) else compute_backoff(schedule, delivery.attempt + 1, chance)
    if wait is None:
        return msgspec.structs.replace(delivery, status=DeliveryStatus.DEAD, error=error, finished=now)
    asked = min(result.retry_after, MAX_RETRY_AFTER_SECONDS) if isinstance(result, RetryLater) else 0.0
    next_at = now + round(max(wait, asked) * 1000)
    return msgspec.structs.replace(delivery, status=DeliveryStatus.PENDING, error=error, next_at=next_at)


class DeliveryFilter(Struct, frozen=True, kw_only=True):
    """Which deliveries to list; None matches all."""

    status: DeliveryStatus | None = None
    #: id of the run whose result is sent
    run: str | None = None
    #: `webhook`, or the name of a channel
    kind: str | None = None
    #: a part of the address, in lower or upper case
    text: str | None = None
    #: deliveries of runs that a limited caller reaches
    reach: Reach | None = None


class StatusCounts(Struct, frozen=True, kw_only=True):
    """How many deliveries have each status."""

    numbers: Mapping[DeliveryStatus, int]
    #: whether all were counted; else a number is the lowest that it may be
    exact: bool


class DeliveryCounts(Struct, frozen=True, kw_only=True):
    """How many deliveries have not been delivered."""

    #: waiting, or being sent
    pending: int
    #: given up
    dead: int


class SendOutcome(NamedTuple):
    """When an attempt to send something to a chat began, and whether the channel took it."""

    at: int
    ok: bool


class ChannelSends(Struct, frozen=True, kw_only=True):
    """The last attempts to send something through a channel. Times are milliseconds since 1970 UTC."""

    #: oldest first
    recent: tuple[SendOutcome, ...] = ()
    last_success: int | None = None
    last_failure: int | None = None
    #: why the last one that failed did so
    last_error: str | None = None
