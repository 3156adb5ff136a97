"""Sends due deliveries, each in its own task, while this process leads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct, field

from gateway import log
from gateway.domain.address_policy import Reach
from gateway.domain.delivery import SCHEDULE, Delivery, DeliveryStatus, Never, Receipt, TryAgain, after
from gateway.domain.event import Change, Event
from gateway.domain.ports.channel import Sender
from gateway.domain.ports.store import Store
from gateway.domain.run import Run
from gateway.domain.times import Clock
from gateway.engine.service_loop import RETRY_SECONDS, ServiceLoop, log_errors
from gateway.engine.storage_retry import until_taken

#: makes the body to send from a run that has ended
Body = Callable[[Run], bytes]

#: how many deliveries are being sent at the same time, to one receiver and in all
EACH, MOST = 4, 256
#: how many in all when a process starts to lead; the limit doubles each second
FEW = 8
#: seconds after which the store is read again if nobody wakes the outbox
LONGEST_SLEEP = 30.0
#: seconds until the next round while more is due than may be sent
PACE = 1.0
#: seconds that a sender gets for one attempt, whatever its own deadline is
PATIENCE = 60.0
#: seconds that deliveries get to finish when another process is going to lead
LAST = 1.0

_log = log.get()


def room(seconds: float) -> int:
    """Return how many deliveries may be sent at the same time after so many seconds of leading.

    So deliveries that became due while no gateway was running are not all sent at once, which would overload
    the receivers and the gateway.
    """
    return min(MOST, FEW << min(int(seconds), 16))


class Post(Struct, frozen=True, kw_only=True):
    """What the outbox needs to send deliveries."""

    #: the senders, by the kind of target
    senders: Mapping[str, Sender] = field(default_factory=dict)
    #: the functions that make bodies, by the format of the target
    bodies: Mapping[str, Body] = field(default_factory=dict)
    #: which addresses callers may have deliveries sent to
    reach: Reach = Reach(local=True)
    #: seconds before each attempt
    schedule: Sequence[float] = SCHEDULE


class Outbox:
    """The service that sends due deliveries."""

    def __init__(self, store: Store, post: Post, clock: Clock) -> None:
        self._store = store
        self._post = post
        self._clock = clock
        self._loop = ServiceLoop(
            "outbox",
            self._send_due,
            log_errors("outbox.cannot_look", "outbox.broke"),
            retry_seconds=RETRY_SECONDS,
        )
        self._sending: set[asyncio.Task[None]] = set()
        self._led_at = 0.0
        store.subscribe(self._hear)

    def call(self) -> None:
        """Look for due deliveries now."""
        self._loop.wake()

    async def lead(self) -> None:
        """Start sending. Deliveries that were being sent when their process ended are sent first."""
        released = await until_taken(self._store.deliveries.release_in_flight)
        if released:
            _log.info("outbox.released", deliveries=released)
        self._led_at = asyncio.get_running_loop().time()
        self._loop.start()

    async def stand_down(self) -> None:
        """Stop sending. Deliveries under way get a moment to finish; the next process to lead sends the rest again.

        Stopping twice is fine.
        """
        await self._loop.stop()
        if self._sending:
            await asyncio.wait(self._sending, timeout=LAST)
        for sending in self._sending:
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _hear(self, events: Sequence[Event], changes: Sequence[Change]) -> None:
        if any(change.topic == "delivery" and change.state == DeliveryStatus.PENDING for change in changes):
            self.call()

    async def _send_due(self) -> float:
        """Send what is due, up to the limit. Returns the seconds until the next round."""
        allowed = room(asyncio.get_running_loop().time() - self._led_at)
        free = allowed - len(self._sending)
        # Shielded: deliveries that are taken on disk are sent here, or the next process to lead releases them.
        taken = await asyncio.shield(self._store.deliveries.take_due(free, EACH)) if free > 0 else []
        for delivery in taken:
            task = asyncio.create_task(self._deliver(delivery), name=f"delivery-{delivery.id}")
            self._sending.add(task)
            task.add_done_callback(self._done)
        if len(taken) >= free and allowed < MOST:
            return PACE
        now = self._clock()
        due = await self._store.deliveries.next_due_at(now)
        return LONGEST_SLEEP if due is None else min((due - now) / 1000 + 0.001, LONGEST_SLEEP)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self.call()

    async def _deliver(self, delivery: Delivery) -> None:
        with log.bound(delivery=delivery.id, run=delivery.run):
            receipt = await self._try(delivery)
            chance = random.random()  # noqa: S311 it spreads retries, and protects nothing
            done = after(delivery, receipt, self._clock(), chance, self._post.schedule)
            await until_taken(lambda: self._store.deliveries.record_attempt(done))
            _log.info(f"delivery.{done.status}", attempt=done.attempt, receiver=done.target.receiver, error=done.error)

    async def _try(self, delivery: Delivery) -> Receipt:
        """Make one attempt. No error that a sender raises gets past here."""
        sender = self._post.senders.get(delivery.target.kind)
        if sender is None:
            return Never(f"the channel {delivery.target.kind} is not configured")
        body = self._post.bodies.get(delivery.target.format)
        if body is None:
            return Never(f"this gateway does not know the format {delivery.target.format}")
        try:
            run = await self._store.runs.get(delivery.run)
            async with asyncio.timeout(PATIENCE):
                return await sender.send(_with_secret(delivery, run), body(run))
        except Exception as error:
            _log.warning("delivery.broke", kind=delivery.target.kind, exc_info=True)
            return TryAgain(f"{type(error).__name__}: {error}")


def _with_secret(delivery: Delivery, run: Run) -> Delivery:
    """Return a delivery with the secret that its caller chose for signing, which is stored only with the run."""
    wanted = (target for target in run.spec.deliver if target.address == delivery.target.address and target.secret)
    target = next(wanted, None)
    return delivery if target is None else msgspec.structs.replace(delivery, target=target)
