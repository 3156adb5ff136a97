"""The service that looks at the conditions and tells the receivers, while this process leads.

What was seen and what is to be told are written in one transaction, with the position up to which the changes were
looked through. So after a crash at any moment, the next process tells what this one did not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from gateway import log
from gateway.domain import ids
from gateway.domain.alert import (
    AlertContent,
    AlertEvent,
    AlertItem,
    AlertKind,
    AlertMessage,
    AlertMessageStatus,
    AlertState,
    AlertUpdate,
    shorten_alert,
)
from gateway.domain.delivery import (
    DELIVERY_RETRY_DELAYS_SECONDS,
    MAX_DELIVERY_ERROR_CHARACTERS,
    MAX_RETRY_AFTER_SECONDS,
    Delivered,
    PermanentFailure,
    RetryLater,
    SendResult,
    compute_backoff,
)
from gateway.domain.event import Change
from gateway.domain.ports.store import Commit, Store
from gateway.domain.run import Run
from gateway.domain.times import Clock
from gateway.engine.alerts import planning
from gateway.engine.alerts.condition import Condition, Look, News, Situation
from gateway.engine.alerts.planning import AlertReceiver, TellingRules
from gateway.engine.alerts.senders import AlertSender
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.engine.storage_retry import until_stored

#: seconds between two rounds, at least and at most
MIN_ALERT_ROUND_SECONDS, MAX_ALERT_ROUND_SECONDS = 0.2, 5.0
#: changes that one round looks at
MAX_CHANGES_PER_ROUND = 1000
#: milliseconds after which the position is written though nothing happened
POSITION_INTERVAL_MILLISECONDS = 60_000
#: failures that are older are not told any more: alerts were off in the meantime, maybe for months
MAX_NEWS_AGE_MILLISECONDS = 86_400_000
#: characters of runs that are read at once
MAX_NEWS_CHARACTERS = 1_000_000
#: seconds that one look may take: a disk of another machine may not answer
LOOK_TIMEOUT_SECONDS = 20.0
#: seconds that one attempt to send may take, whatever the deadline of its sender is
ALERT_SEND_TIMEOUT_SECONDS = 60.0
#: seconds that attempts get to finish when another process is going to lead
ALERT_GRACE_SECONDS = 1.0
#: longest pause between two attempts: an alert of a day ago is worth a last try
MAX_ALERT_RETRY_SECONDS = 3600.0

_log = log.get()


class AlertService:
    """Looks, plans, writes and sends."""

    def __init__(
        self,
        store: Store,
        conditions: Sequence[Condition],
        receivers: Sequence[AlertReceiver],
        senders: Mapping[str, AlertSender],
        rules: TellingRules,
        clock: Clock,
        retry_delays: Sequence[float] = DELIVERY_RETRY_DELAYS_SECONDS,
        find_names: Callable[[str], Collection[str]] = lambda agent: (agent,),
    ) -> None:
        """Args:
        senders: by the name of the receiver.
        retry_delays: seconds before each attempt to send.
        find_names: returns all names of an agent.
        """
        self._store = store
        self._conditions = conditions
        self._receivers = receivers
        self._senders = senders
        self._rules = rules
        self._clock = clock
        self._retry_delays = retry_delays
        self._find_names = find_names
        #: what is stored, without the messages that are pending; None if it must be read
        self._state: AlertState | None = None
        #: the messages that are pending, by id, the oldest first
        self._pending: dict[str, AlertMessage] = {}
        #: position up to which the changes were looked through, and when it was written
        self._position = 0
        self._position_written = 0
        #: when each condition is looked at again, in milliseconds since 1970 UTC
        self._next_looks = dict.fromkeys((condition.kind for condition in conditions), 0)
        #: the receivers that are being sent to, by their tasks
        self._sending: dict[asyncio.Task[None], str] = {}
        self._loop: ServiceLoop | None = None
        self._round_at = 0.0
        store.subscribe(self._wake_on_commit)

    @property
    def receiver_names(self) -> Sequence[str]:
        return [receiver.name for receiver in self._receivers]

    def start(self) -> None:
        """Start: this process leads."""
        self._state = None
        self._loop = ServiceLoop("alerts", self._run_round, log_errors("alerts.wait", "alerts.broke"))
        self._loop.start()

    async def stop(self) -> None:
        """Stop: the next process to lead goes on. Messages that are being sent get a moment. Stopping twice is fine."""
        if self._loop is not None:
            await self._loop.stop()
            self._loop = None
        if self._sending:
            await asyncio.wait(self._sending, timeout=ALERT_GRACE_SECONDS)
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

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

    def _wake_on_commit(self, commit: Commit) -> None:
        if self._loop is not None and any(_is_trouble(change) for change in commit.changes):
            self._loop.wake()

    # --- looking ----------------------------------------------------------------------------

    async def _run_round(self) -> float:
        """Look at what is due, write what follows, and send. Returns the seconds until the next round."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._round_at + MIN_ALERT_ROUND_SECONDS - loop.time()))
        self._round_at = loop.time()
        state = self._state or await self._load_state()
        now = self._clock()
        position, news, is_behind = await self._read_news(now)
        looks = await self._look_at_conditions(state, news, now)
        plan = planning.plan_alerts(state, looks, self._receivers, self._rules, now, self._find_names)
        if plan.has_news or not 0 <= now - self._position_written < POSITION_INTERVAL_MILLISECONDS:
            self._state = None  # until it is written: if that fails, it is read again
            if not await asyncio.shield(self._store.alerts.save(plan.make_update(position))):
                _log.warning("alerts.overtaken")
                return MAX_ALERT_ROUND_SECONDS
            self._position_written = now
            state = msgspec.structs.replace(plan.state, revision=state.revision + 1)
        self._position = position
        self._state = self._take_pending(state)
        self._send_due(now)
        return 0.0 if is_behind else self._compute_pause(now)

    async def _load_state(self) -> AlertState:
        state = await self._store.alerts.read_state()
        # Alerts are on for the first time: what was before is not told.
        position = await self._store.events.last_change() if state.position is None else state.position
        kinds = {condition.kind for condition in self._conditions}
        gone = [alert.key for alert in state.open if alert.kind not in kinds]
        lost = [message for message in state.waiting if message.receiver not in self._senders]
        if gone or lost or state.position is None:  # the settings are other ones now
            why, now = "the receiver is no longer configured", self._clock()
            dead = [
                msgspec.structs.replace(message, status=AlertMessageStatus.DEAD, error=why, finished=now)
                for message in lost
            ]
            update = AlertUpdate(revision=state.revision, position=position, closed=gone, messages=dead)
            await self._store.alerts.save(update)
            state = await self._store.alerts.read_state()
        self._position, self._position_written = position, self._clock()
        self._pending.clear()
        return self._take_pending(state)

    def _take_pending(self, state: AlertState) -> AlertState:
        """Move the messages that are pending from the state to those that are sent."""
        pending = [message for message in state.waiting if message.status is AlertMessageStatus.PENDING]
        self._pending |= {message.id: message for message in pending}
        return msgspec.structs.replace(
            state, waiting=[one for one in state.waiting if one.status is AlertMessageStatus.COLLECTING]
        )

    async def _read_news(self, now: int) -> tuple[int, News, bool]:
        """Return the position up to which changes were read, what they are about, and whether there are more."""
        newest = await self._store.events.last_change()
        if newest <= self._position:
            return newest, News(), False
        found = await self._store.alerts.read_trouble_after(self._position, newest, MAX_CHANGES_PER_ROUND)
        is_behind = len(found) == MAX_CHANGES_PER_ROUND
        changes = [change for change in found if change.at > now - MAX_NEWS_AGE_MILLISECONDS]
        failed = [change.ref for change in changes if change.topic == "run"]
        news = News(changes=changes, failed_runs=await self._read_runs(failed))
        return found[-1].seq if is_behind else newest, news, is_behind

    async def _read_runs(self, run_ids: list[str]) -> list[Run]:
        runs: list[Run] = []
        while run_ids:
            count, some = await self._store.runs.read_batch(run_ids, MAX_NEWS_CHARACTERS, shortened=True)
            runs += some
            run_ids = run_ids[count:]
        return runs

    async def _look_at_conditions(self, state: AlertState, news: News, now: int) -> list[tuple[AlertKind, Look]]:
        looks = []
        for condition in self._conditions:
            is_due = condition.interval_seconds is not None and not (
                now < self._next_looks[condition.kind] <= now + condition.interval_seconds * 1000
            )
            if not (news.changes or is_due):
                continue
            if condition.interval_seconds is not None:
                self._next_looks[condition.kind] = now + round(condition.interval_seconds * 1000)
            is_open = {alert.subject: alert for alert in state.open if alert.kind == condition.kind}
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_SECONDS):
                    looks.append((condition.kind, await condition.look(Situation(now=now, news=news, open=is_open))))
            except Exception:  # one that breaks must not keep the others from being told
                _log.exception("alerts.look_broke", kind=str(condition.kind))
        return looks

    def _compute_pause(self, now: int) -> float:
        state = self._state
        assert state is not None
        moments = [message.next_at for message in self._pending.values()]
        if (due := planning.find_next_due(state, self._receivers, self._rules, now)) is not None:
            moments.append(due)
        pause = MAX_ALERT_ROUND_SECONDS
        for moment in moments:
            if moment > now:
                pause = min(pause, (moment - now) / 1000 + 0.001)
        return pause

    # --- sending ----------------------------------------------------------------------------

    def _send_due(self, now: int) -> None:
        """Start to send what is due: one message at a time to each receiver, the oldest first."""
        busy = set(self._sending.values())
        for message in self._pending.values():
            is_due = message.next_at <= now or message.next_at > now + 2 * MAX_RETRY_AFTER_SECONDS * 1000
            if is_due and message.receiver not in busy:
                busy.add(message.receiver)
                task = asyncio.create_task(self._send_message(message), name=f"alert-{message.id}")
                self._sending[task] = message.receiver
                task.add_done_callback(self._on_sent)

    def _on_sent(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        if self._loop is not None:
            self._loop.wake()

    async def _send_message(self, message: AlertMessage) -> None:
        result = await self._attempt_send(message)
        done = apply_alert_result(message, result, self._clock(), random.random(), self._retry_delays)  # noqa: S311 it spreads retries
        await until_stored(lambda: self._store.alerts.record_send(done))
        fields = {"alert": message.id, "receiver": message.receiver, "attempt": done.attempt}
        if done.error is None:
            _log.info("alert.delivered", **fields)
        else:
            _log.warning(f"alert.{done.status}", error=done.error, **fields)
        self._pending.pop(done.id, None)
        if done.status is AlertMessageStatus.PENDING:
            self._pending[done.id] = done

    async def _attempt_send(self, message: AlertMessage) -> SendResult:
        """Make one attempt. No error that a sender raises gets past here."""
        sender = self._senders.get(message.receiver)
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


def _is_trouble(change: Change) -> bool:
    return (change.topic, change.state) in (("run", "failed"), ("delivery", "dead"), ("schedule", "missed"))


def apply_alert_result(
    message: AlertMessage, result: SendResult, now: int, chance: float, schedule: Sequence[float]
) -> AlertMessage:
    """Return a message as it is after an attempt to send it."""
    tried = msgspec.structs.replace(message, attempt=message.attempt + 1)
    if isinstance(result, Delivered):
        return msgspec.structs.replace(tried, status=AlertMessageStatus.DELIVERED, error=None, finished=now)
    error = shorten_alert(result.reason[:MAX_DELIVERY_ERROR_CHARACTERS])
    wait = None if isinstance(result, PermanentFailure) else compute_backoff(schedule, tried.attempt + 1, chance)
    if wait is None:
        return msgspec.structs.replace(tried, status=AlertMessageStatus.DEAD, error=error, finished=now)
    asked = min(result.retry_after, MAX_RETRY_AFTER_SECONDS) if isinstance(result, RetryLater) else 0.0
    next_at = now + round(max(min(wait, MAX_ALERT_RETRY_SECONDS), asked) * 1000)
    return msgspec.structs.replace(tried, error=error, next_at=next_at)
