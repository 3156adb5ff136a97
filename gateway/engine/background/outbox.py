"""Sends deliveries that are due, each in a task of its own, while this process leads."""

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

#: makes what is sent out of a run that has ended
Body = Callable[[Run], bytes]

#: deliveries on their way at the same time, to one receiver and in all
EACH, MOST = 4, 256
#: how many in all when a process begins to lead; twice as many with each second
FEW = 8
#: seconds after which the store is looked at, if nobody called
LONGEST_SLEEP = 30.0
#: seconds between looks while there is more than may be sent
PACE = 1.0
#: seconds that a sender may take, whatever it has promised
PATIENCE = 60.0
#: seconds that what is on its way may take when another process is to lead
LAST = 1.0

_log = log.get()


def room(seconds: float) -> int:
    """Return how many deliveries may be on their way after so many seconds of leading.

    What has waited for the gateway does not fall upon its receivers, nor upon the gateway, all at once.
    """
    return min(MOST, FEW << min(int(seconds), 16))


class Post(Struct, frozen=True, kw_only=True):
    """How deliveries leave this gateway."""

    #: by the kind of their targets
    senders: Mapping[str, Sender] = field(default_factory=dict)
    #: by the format of their targets
    bodies: Mapping[str, Body] = field(default_factory=dict)
    #: where callers may have them sent
    reach: Reach = Reach(local=True)
    #: seconds before each try
    schedule: Sequence[float] = SCHEDULE


class Outbox:
    """The service that turns due deliveries into tries."""

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
        """Say that there may be something to send."""
        self._loop.wake()

    async def lead(self) -> None:
        """Begin to send, first what was on its way when its process ended."""
        released = await until_taken(self._store.deliveries.release_in_flight)
        if released:
            _log.info("outbox.released", deliveries=released)
        self._led_at = asyncio.get_running_loop().time()
        self._loop.start()

    async def stand_down(self) -> None:
        """Send no more: what is on its way gets a moment, and is sent again by whoever leads next. Twice is fine."""
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
        """Send what is due, as far as there is room; returns the seconds until there may be more."""
        allowed = room(asyncio.get_running_loop().time() - self._led_at)
        free = allowed - len(self._sending)
        # Shielded: what is taken on disk is sent, or released by whoever leads next.
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
            chance = random.random()  # noqa: S311 spreads, hides nothing
            done = after(delivery, receipt, self._clock(), chance, self._post.schedule)
            await until_taken(lambda: self._store.deliveries.record_attempt(done))
            _log.info(f"delivery.{done.status}", attempt=done.attempt, receiver=done.target.receiver, error=done.error)

    async def _try(self, delivery: Delivery) -> Receipt:
        """Try once. The border behind which no error of a sender's is let through."""
        sender = self._post.senders.get(delivery.target.kind)
        if sender is None:
            return Never(f"the channel {delivery.target.kind} is not configured")
        body = self._post.bodies.get(delivery.target.format)
        if body is None:
            return Never(f"nothing here speaks the format {delivery.target.format}")
        try:
            run = await self._store.runs.get(delivery.run)
            async with asyncio.timeout(PATIENCE):
                return await sender.send(_with_secret(delivery, run), body(run))
        except Exception as error:
            _log.warning("delivery.broke", kind=delivery.target.kind, exc_info=True)
            return TryAgain(f"{type(error).__name__}: {error}")


def _with_secret(delivery: Delivery, run: Run) -> Delivery:
    """Return a delivery with what its caller wants it to be signed with, which is kept with the run alone."""
    wanted = (target for target in run.spec.deliver if target.address == delivery.target.address and target.secret)
    target = next(wanted, None)
    return delivery if target is None else msgspec.structs.replace(delivery, target=target)
