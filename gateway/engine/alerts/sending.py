"""Sends the messages that are pending: one at a time to each receiver, again and again for a day."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence

import msgspec

from gateway import log
from gateway.domain import ids
from gateway.domain.alert import (
    AlertContent,
    AlertEvent,
    AlertItem,
    AlertMessage,
    AlertMessageStatus,
    shorten_alert,
)
from gateway.domain.delivery import (
    MAX_DELIVERY_ERROR_CHARACTERS,
    MAX_RETRY_AFTER_SECONDS,
    Delivered,
    PermanentFailure,
    RetryLater,
    SendResult,
    compute_backoff,
)
from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.engine.alerts.senders import AlertSender
from gateway.engine.storage_retry import until_stored

#: seconds that one attempt to send may take, whatever the deadline of its sender is
ALERT_SEND_TIMEOUT_SECONDS = 60.0
#: seconds that attempts get to finish when another process is going to lead
ALERT_GRACE_SECONDS = 1.0
#: longest pause between two attempts, unless the receiver asks for a longer one
MAX_ALERT_RETRY_SECONDS = 3600.0
#: milliseconds after its release in which a message is tried
MAX_ALERT_AGE_MILLISECONDS = 86_400_000
#: milliseconds between two messages to a receiver while nothing can be stored
UNSTORED_INTERVAL_MILLISECONDS = 3_600_000
#: status of a webhook that wants no more: https://www.rfc-editor.org/rfc/rfc9110#name-410-gone
_GONE = 410

_log = log.get()


class AlertSending:
    """The messages that are pending, and the attempts under way."""

    def __init__(
        self,
        store: Store,
        senders: Mapping[str, AlertSender],
        clock: Clock,
        retry_delays: Sequence[float],
        sent: Callable[[], None],
    ) -> None:
        """Args:
        senders: by the name of the receiver.
        retry_delays: seconds before each attempt; the last one repeats.
        sent: called after each attempt.
        """
        self._store = store
        self.senders = senders
        self._clock = clock
        self._retry_delays = retry_delays
        self._sent = sent
        #: by id, the oldest first
        self._pending: dict[str, AlertMessage] = {}
        #: the receivers that are being sent to, by their tasks
        self._tasks: dict[asyncio.Task[None], str] = {}
        #: when each receiver last got a message that could not be stored
        self._unstored_at: dict[str, int] = {}

    @property
    def pending_messages(self) -> Collection[AlertMessage]:
        """The messages that are on their way to their receivers."""
        return self._pending.values()

    def forget_pending(self) -> None:
        """Forget what is pending: it is read from the store again."""
        self._pending.clear()

    def add_pending(self, messages: Iterable[AlertMessage]) -> None:
        self._pending |= {message.id: message for message in messages}

    def find_next_due(self, now: int) -> int | None:
        """Return when the next attempt is due that is not due now; None if there is none."""
        return min((one.next_at for one in self._pending.values() if one.next_at > now), default=None)

    def send_due(self, now: int) -> None:
        """Start to send what is due."""
        for message in list(self._pending.values()):
            is_due = message.next_at <= now or message.next_at > now + 2 * MAX_RETRY_AFTER_SECONDS * 1000
            if is_due and message.receiver not in self._tasks.values():
                self._start_task(message, self._send_message(message))

    def send_unstored(self, messages: Iterable[AlertMessage], now: int) -> None:
        """Send messages that the disk refuses to store, at most one an hour to each receiver.

        A full disk must be told, though nothing can be written down about it. What is not told so is told later.
        """
        for message in messages:
            last = self._unstored_at.get(message.receiver)
            is_recent = last is not None and 0 <= now - last < UNSTORED_INTERVAL_MILLISECONDS
            if not is_recent and message.receiver not in self._tasks.values():
                self._unstored_at[message.receiver] = now
                self._start_task(message, self._send_once(message))

    def _start_task(self, message: AlertMessage, sending: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(sending, name=f"alert-{message.id}")
        self._tasks[task] = message.receiver
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._sent()

    async def wait_sent(self) -> None:
        """Wait until no attempt is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def stop(self) -> None:
        """End the attempts under way, after a moment. The next process to lead makes them again."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=ALERT_GRACE_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send_test(self, receiver: str) -> SendResult:
        """Send a test to one receiver, now; it is tried once, and nothing is written."""
        now = self._clock()
        item = AlertItem(
            kind=AlertEvent.TEST, event=AlertEvent.TEST, subject=receiver, text="alerts arrive here", at=now
        )
        message = AlertMessage(
            id=ids.make_ulid(now),
            receiver=receiver,
            status=AlertMessageStatus.PENDING,
            content=AlertContent().add_item(item),
            next_at=now,
            created=now,
        )
        return await self._attempt_send(message)

    async def _send_message(self, message: AlertMessage) -> None:
        result = await self._attempt_send(message)
        chance = random.random()  # noqa: S311 it spreads retries, and protects nothing
        done = apply_alert_result(message, result, self._clock(), chance, self._retry_delays)
        try:
            await until_stored(lambda: self._store.alerts.record_send(done))
        except Exception:  # what was sent must not be sent again and again
            _log.exception("alert.unrecorded", receiver=message.receiver)
        _log_result(done)
        self._pending.pop(done.id, None)
        if done.status is AlertMessageStatus.PENDING:
            self._pending[done.id] = done

    async def _send_once(self, message: AlertMessage) -> None:
        result = await self._attempt_send(message)
        _log.warning(
            "alert.unstored",
            receiver=message.receiver,
            error=None if isinstance(result, Delivered) else result.reason,
        )

    async def _attempt_send(self, message: AlertMessage) -> SendResult:
        """Make one attempt. No error that a sender raises gets past here."""
        sender = self.senders.get(message.receiver)
        if sender is None:
            return PermanentFailure(f"the receiver {message.receiver} is not configured")
        try:
            async with asyncio.timeout(ALERT_SEND_TIMEOUT_SECONDS):
                return await sender.send_alert(message)
        except TimeoutError:
            return RetryLater(f"it has not ended within {ALERT_SEND_TIMEOUT_SECONDS:g} s")
        except Exception as error:
            _log.warning("alert.broke", receiver=message.receiver, exc_info=True)
            return RetryLater(f"{type(error).__name__}: {error}")


def _log_result(done: AlertMessage) -> None:
    fields = {"alert": done.id, "receiver": done.receiver, "attempt": done.attempt}
    if done.error is None:
        _log.info("alert.delivered", **fields)
    else:
        _log.warning(f"alert.{done.status}", error=done.error, **fields)


def apply_alert_result(
    message: AlertMessage, result: SendResult, now: int, chance: float, schedule: Sequence[float]
) -> AlertMessage:
    """Return a message as it is after an attempt to send it.

    It is tried for a day, also if the receiver refuses it: a chat or a token may be mended in the meantime.
    """
    tried = msgspec.structs.replace(message, attempt=message.attempt + 1)
    if isinstance(result, Delivered):
        return msgspec.structs.replace(tried, status=AlertMessageStatus.DELIVERED, error=None, finished=now)
    error = shorten_alert(result.reason[:MAX_DELIVERY_ERROR_CHARACTERS])
    is_too_old = message.released is not None and now - message.released >= MAX_ALERT_AGE_MILLISECONDS
    if is_too_old or result.http_status == _GONE:
        return msgspec.structs.replace(tried, status=AlertMessageStatus.DEAD, error=error, finished=now)
    wait = compute_backoff(schedule, min(tried.attempt + 1, len(schedule)), chance) or 1.0
    asked = min(result.retry_after, MAX_RETRY_AFTER_SECONDS) if isinstance(result, RetryLater) else 0.0
    next_at = now + round(max(min(wait, MAX_ALERT_RETRY_SECONDS), asked) * 1000)
    return msgspec.structs.replace(tried, error=error, next_at=next_at)
