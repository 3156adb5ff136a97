"""Sends due deliveries, each in its own task, while this process leads."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import msgspec
from msgspec import Struct, field

from gateway import log
from gateway.domain.address_policy import AddressPolicy
from gateway.domain.delivery import (
    CHAT_FORMAT,
    DELIVERY_RETRY_DELAYS_SECONDS,
    MIN_CHAT_UPLOAD_BYTES_PER_SECOND,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    PermanentFailure,
    RetryLater,
    SendResult,
    Target,
    apply_send_result,
)
from gateway.domain.ports.channel import DeliverySender
from gateway.domain.ports.store import Commit, Store
from gateway.domain.run import Run
from gateway.domain.times import Clock
from gateway.engine.service_loop import RETRY_SECONDS, ServiceLoop, log_errors
from gateway.engine.storage_retry import until_stored

#: makes the body to send from a run that has ended
BodyEncoder = Callable[[Run], bytes]

#: how many deliveries are being sent at the same time, to one receiver and in all
MAX_SENDING_PER_RECEIVER, MAX_SENDING = 4, 256
#: how many in all when a process starts to lead; the limit doubles each second
INITIAL_MAX_SENDING = 8
#: seconds after which the store is read again if nobody wakes the outbox
MAX_OUTBOX_SLEEP_SECONDS = 30.0
#: seconds until the next round while more is due than may be sent
PACING_INTERVAL_SECONDS = 1.0
#: seconds between two looks for deliveries that nobody sends any more, in a fleet
RELEASE_SECONDS = 15.0
#: seconds that a sender gets for one attempt without files, whatever its own deadline is
SEND_TIMEOUT_SECONDS = 60.0
#: seconds that deliveries get to finish when another process is going to lead
SENDING_GRACE_SECONDS = 1.0
#: levels of the log lines about attempts that failed
_LOG_LEVELS = {DeliveryStatus.PENDING: logging.WARNING, DeliveryStatus.DEAD: logging.ERROR}

_log = log.get()


def compute_sending_limit(seconds: float) -> int:
    """Return how many deliveries may be sent at the same time after so many seconds of leading.

    So deliveries that became due while no gateway was running are not all sent at once, which would overload
    the receivers and the gateway.
    """
    return min(MAX_SENDING, INITIAL_MAX_SENDING << min(int(seconds), 16))


def compute_send_timeout(target: Target, run: Run) -> float:
    """Return the seconds that one attempt gets: more for a chat, to which the files of the run are uploaded."""
    uploaded = sum(file.size for file in run.files) if target.format == CHAT_FORMAT else 0
    return SEND_TIMEOUT_SECONDS + uploaded / MIN_CHAT_UPLOAD_BYTES_PER_SECOND


#: makes due again what another member of the fleet was sending, and is gone, and what this process has taken and does
#: not send: it never heard that it had. Takes the ids of the deliveries that it sends; returns how many there were
ReleaseDeliveries = Callable[[Collection[str]], Awaitable[int]]


def _ignore_attempt(delivery_id: str, tried: DeliveryAttempt) -> None: ...


class DeliverySetup(Struct, frozen=True, kw_only=True):
    """What the outbox needs to send deliveries."""

    #: the senders, by the kind of target
    senders: Mapping[str, DeliverySender] = field(default_factory=dict)
    #: the functions that make bodies, by the format of the target
    bodies: Mapping[str, BodyEncoder] = field(default_factory=dict)
    #: which addresses callers may have deliveries sent to
    address_policy: AddressPolicy = AddressPolicy(loopback_only=True)
    #: seconds before each attempt
    retry_delays: Sequence[float] = DELIVERY_RETRY_DELAYS_SECONDS
    #: called with the id of a delivery and an attempt to send it, when this process has made it and it is on disk
    on_attempt: Callable[[str, DeliveryAttempt], None] = _ignore_attempt


class Outbox:
    """The service that sends due deliveries."""

    def __init__(
        self, store: Store, setup: DeliverySetup, clock: Clock, *, release: ReleaseDeliveries | None = None
    ) -> None:
        """Args: release: see `ReleaseDeliveries`; None if no other process sends deliveries of this store."""
        self._store = store
        self._setup = setup
        self._clock = clock
        self._loop = ServiceLoop(
            "outbox",
            self._send_due,
            log_errors("outbox.cannot_look", "outbox.broke"),
            retry_seconds=RETRY_SECONDS,
        )
        #: the ids of the deliveries under way, by their tasks
        self._sending: dict[asyncio.Task[None], str] = {}
        self._release = release
        self._led_at = self._released_at = 0.0
        store.subscribe(self._wake_on_commit)

    def wake(self) -> None:
        """Look for due deliveries now."""
        self._loop.wake()

    async def start_sending(self) -> None:
        """Start sending. Deliveries that were being sent when their process ended are sent first."""
        released = await until_stored(self._store.deliveries.release_in_flight)
        if released:
            _log.info("outbox.released", deliveries=released)
        self._led_at = self._released_at = asyncio.get_running_loop().time()
        self._loop.start()

    async def stop_sending(self) -> None:
        """Stop sending. Deliveries under way get a moment to finish; the next process to lead sends the rest again.

        Stopping twice is fine.
        """
        await self._loop.stop()
        if self._sending:
            await asyncio.wait(self._sending, timeout=SENDING_GRACE_SECONDS)
        for sending in list(self._sending):
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _wake_on_commit(self, commit: Commit) -> None:
        if any(change.topic == "delivery" and change.state == DeliveryStatus.PENDING for change in commit.changes):
            self.wake()

    async def _send_due(self) -> float:
        """Send what is due, up to the limit. Returns the seconds until the next round."""
        await self._release_abandoned()
        allowed = compute_sending_limit(asyncio.get_running_loop().time() - self._led_at)
        free = allowed - len(self._sending)
        # Shielded: deliveries that are taken on disk are sent here, or the next process to lead releases them.
        taken = (
            await asyncio.shield(self._store.deliveries.take_due(free, MAX_SENDING_PER_RECEIVER)) if free > 0 else []
        )
        for delivery in taken:
            task = asyncio.create_task(self._send_delivery(delivery), name=f"delivery-{delivery.id}")
            self._sending[task] = delivery.id
            task.add_done_callback(self._on_sending_done)
        if len(taken) >= free and allowed < MAX_SENDING:
            return PACING_INTERVAL_SECONDS
        now = self._clock()
        due = await self._store.deliveries.next_due_at(now)
        pause = MAX_OUTBOX_SLEEP_SECONDS if self._release is None else RELEASE_SECONDS
        return pause if due is None else min((due - now) / 1000 + 0.001, pause)

    async def _release_abandoned(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._release is None or now - self._released_at < RELEASE_SECONDS:
            return
        self._released_at = now
        if released := await self._release(set(self._sending.values())):
            _log.info("outbox.released", deliveries=released)

    def _on_sending_done(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self.wake()

    async def _send_delivery(self, delivery: Delivery) -> None:
        with log.bound(delivery=delivery.id, run=delivery.run):
            at, begun = self._clock(), asyncio.get_running_loop().time()
            result = await self._attempt_send(delivery)
            took = round((asyncio.get_running_loop().time() - begun) * 1000)
            chance = random.random()  # noqa: S311 it spreads retries, and protects nothing
            done = apply_send_result(delivery, result, self._clock(), chance, self._setup.retry_delays)
            tried = DeliveryAttempt(at=at, took=took, http_status=result.http_status, error=done.error)
            await until_stored(lambda: self._store.deliveries.record_attempt(done, tried))
            self._setup.on_attempt(delivery.id, tried)
            level = _LOG_LEVELS.get(done.status, logging.INFO)
            _log.log(
                level,
                f"delivery.{done.status}",
                attempt=done.attempt,
                receiver=done.target.receiver,
                error=done.error,
            )

    async def _attempt_send(self, delivery: Delivery) -> SendResult:
        """Make one attempt. No error that a sender raises gets past here."""
        sender = self._setup.senders.get(delivery.target.kind)
        if sender is None:
            return PermanentFailure(f"the channel {delivery.target.kind} is not configured")
        body = self._setup.bodies.get(delivery.target.format)
        if body is None:
            return PermanentFailure(f"this gateway does not know the format {delivery.target.format}")
        try:
            run = await self._store.runs.get(delivery.run)
            async with asyncio.timeout(compute_send_timeout(delivery.target, run)):
                return await sender.send_delivery(_add_signing_secret(delivery, run), body(run))
        except Exception as error:
            _log.warning("delivery.broke", kind=delivery.target.kind, exc_info=True)
            return RetryLater(f"{type(error).__name__}: {error}")


def _add_signing_secret(delivery: Delivery, run: Run) -> Delivery:
    """Return a delivery with the secret that its caller chose for signing, which is stored only with the run."""
    wanted = (target for target in run.spec.deliver if target.address == delivery.target.address and target.secret)
    target = next(wanted, None)
    return delivery if target is None else msgspec.structs.replace(delivery, target=target)
