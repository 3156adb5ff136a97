"""The service that looks at the conditions and tells the receivers, while this process leads.

What was seen and what is to be told are written in one transaction, with the position up to which the changes were
looked through. So after a crash at any moment, the next process tells what this one did not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

import msgspec

from gateway import log
from gateway.domain.alert import AlertKind, AlertMessageStatus, AlertState, AlertUpdate, OpenAlert
from gateway.domain.delivery import DELIVERY_RETRY_DELAYS_SECONDS, SendResult
from gateway.domain.event import Change
from gateway.domain.ports.store import Commit, Store
from gateway.domain.run import Run
from gateway.domain.times import Clock
from gateway.engine.alerts import planning
from gateway.engine.alerts.condition import Condition, Happening, Look, News, Situation
from gateway.engine.alerts.planning import AlertPlan, AlertReceiver, TellingRules
from gateway.engine.alerts.senders import AlertSender
from gateway.engine.alerts.sending import AlertSending
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.engine.storage_retry import RETRYABLE_STORAGE_ERRORS
from gateway.errors import StorageFull, Unavailable

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
#: how often the same news is looked at by a condition that fails; after that, the others go on without it
MAX_LOOK_TRIES = 20

#: the note that keeps who was told
_RECEIVERS_SCOPE, _RECEIVERS_NAME = "alert receivers", "told"

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
        is_agent: Callable[[str], bool] = lambda name: True,
    ) -> None:
        """Args:
        senders: by the name of the receiver.
        retry_delays: seconds before each attempt to send.
        find_names: returns all names of an agent.
        is_agent: returns whether there is an agent with that name.
        """
        self._store = store
        self._conditions = conditions
        self._receivers = receivers
        self._rules = rules
        self._clock = clock
        self._find_names = find_names
        self._is_agent = is_agent
        #: what is stored, without the messages that are pending; None if it must be read
        self._state: AlertState | None = None
        #: who was told until now; None if it must be read; and whether the receivers of the settings are noted as such
        self._told_before: Sequence[AlertReceiver] | None = None
        self._is_noted = False
        #: position up to which the changes were looked through, and when it was written
        self._position = 0
        self._position_written = 0
        #: when each condition is looked at again, in milliseconds since 1970 UTC
        self._next_looks = dict.fromkeys((condition.kind for condition in conditions), 0)
        #: how often each condition that needs the news has failed in a row
        self._failed_looks: dict[AlertKind, int] = {}
        #: what was told as open while the disk was full
        self._unstored: dict[tuple[str, str], OpenAlert] = {}
        self._sending = AlertSending(store, senders, clock, retry_delays, self._wake)
        self._loop: ServiceLoop | None = None
        self._round_at = 0.0
        store.subscribe(self._wake_on_commit)

    @property
    def watched_kinds(self) -> Sequence[AlertKind]:
        """The kinds that a receiver wants."""
        return [condition.kind for condition in self._conditions]

    @property
    def receiver_names(self) -> Sequence[str]:
        return [receiver.name for receiver in self._receivers]

    def start(self) -> None:
        """Start: this process leads."""
        self._state = self._told_before = None
        self._is_noted = False
        for receiver in self._receivers:
            for name in sorted(receiver.agents):
                if not self._is_agent(name):  # it may come later: agents are also made through the API
                    _log.warning(
                        "alerts.unknown_agent",
                        receiver=receiver.name,
                        agent=name,
                        remedy=f"Correct alerts.receivers.{receiver.name}.agents, or create the agent.",
                    )
        self._loop = ServiceLoop(
            "alerts", self._run_round, log_errors("alerts.wait", "alerts.broke"), retry_seconds=MAX_ALERT_ROUND_SECONDS
        )
        self._loop.start()

    async def stop(self) -> None:
        """Stop: the next process to lead goes on. Messages that are being sent get a moment. Stopping twice is fine."""
        if self._loop is not None:
            await self._loop.stop()
            self._loop = None
        await self._sending.stop()

    async def send_test(self, receiver: str) -> SendResult:
        """Send a test to one receiver, now; it is tried once, and nothing is written."""
        return await self._sending.send_test(receiver)

    def _wake_on_commit(self, commit: Commit) -> None:
        if any(_is_trouble(change) for change in commit.changes):
            self._wake()

    def _wake(self) -> None:
        if self._loop is not None:
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
        pending = self._sending.pending_messages
        plan = planning.plan_alerts(
            state, looks, self._receivers, self._rules, now, pending, self._find_names, self._told_before
        )
        if plan.has_news or not 0 <= now - self._position_written < POSITION_INTERVAL_MILLISECONDS:
            self._state = None  # until it is written: if that fails, it is read again
            if not await self._save_plan(plan, position, now):
                _log.warning("alerts.overtaken")
                return MAX_ALERT_ROUND_SECONDS
            self._position_written = now
            self._unstored = {alert.key: alert for alert in plan.state.unstored}
            state = msgspec.structs.replace(plan.state, revision=state.revision + 1)
        await self._keep_receivers()
        self._position = position
        self._state = self._take_pending(state)
        self._sending.send_due(now)
        return 0.0 if is_behind else self._compute_pause(now)

    async def _save_plan(self, plan: AlertPlan, position: int, now: int) -> bool:
        """Write a plan. Returns False if another process has written since.

        Raises:
            StorageFull: the disk is full. What the plan tells is sent all the same.
        """
        try:
            return await asyncio.shield(self._store.alerts.save(plan.make_update(position)))
        except StorageFull:
            self._unstored |= {alert.key: alert for alert in plan.opened}
            self._sending.send_unstored(plan.messages, now)
            raise

    async def _load_state(self) -> AlertState:
        state = await self._store.alerts.read_state()
        # Alerts are on for the first time: what was before is not told.
        position = await self._store.events.last_change() if state.position is None else state.position
        kinds = {condition.kind for condition in self._conditions}
        gone = [alert.key for alert in state.open if alert.kind not in kinds]
        if gone:  # the settings are other ones now
            await self._store.alerts.save(AlertUpdate(revision=state.revision, position=position, closed=gone))
            state = await self._store.alerts.read_state()
        if self._told_before is None:
            self._told_before = await self._read_receivers()
        self._position = position
        self._position_written = 0 if state.position is None else self._clock()
        self._sending.forget_pending()
        state = msgspec.structs.replace(state, unstored=list(self._unstored.values()))
        return self._take_pending(state)

    def _take_pending(self, state: AlertState) -> AlertState:
        """Move the messages that are pending from the state to those that are sent."""
        names = self.receiver_names  # planning gives up the messages to others
        pending = [one for one in state.waiting if one.status is AlertMessageStatus.PENDING and one.receiver in names]
        self._sending.add_pending(pending)
        ended = (AlertMessageStatus.DELIVERED, AlertMessageStatus.DEAD)
        waiting = [one for one in state.waiting if one not in pending and one.status not in ended]
        return msgspec.structs.replace(state, waiting=waiting)

    async def _read_receivers(self) -> Sequence[AlertReceiver]:
        """Return who was told until now; the receivers of the settings if nothing is known of others."""
        kept = await self._store.notes.get(_RECEIVERS_SCOPE, _RECEIVERS_NAME)
        try:
            return self._receivers if kept is None else msgspec.json.decode(kept, type=list[AlertReceiver])
        except (msgspec.MsgspecError, UnicodeError):
            return self._receivers

    async def _keep_receivers(self) -> None:
        """Note who was told, after what that means was written: a process that dies in between tells it again."""
        self._told_before = self._receivers
        if not self._is_noted:
            with suppress(*RETRYABLE_STORAGE_ERRORS):  # the next round tries again
                value = msgspec.json.encode(self._receivers).decode()
                await self._store.notes.save(_RECEIVERS_SCOPE, {_RECEIVERS_NAME: value})
                self._is_noted = True

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
            if not (is_due or (condition.needs_news and news.changes)):
                continue
            if condition.interval_seconds is not None:
                self._next_looks[condition.kind] = now + round(condition.interval_seconds * 1000)
            told = [*state.unstored, *state.open]
            is_open = {alert.subject: alert for alert in told if alert.kind == condition.kind}
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_SECONDS):
                    looks.append((condition.kind, await condition.look(Situation(now=now, news=news, open=is_open))))
            except (*RETRYABLE_STORAGE_ERRORS, TimeoutError) as error:
                why = str(error) or "it took too long"
                if condition.needs_news and news.changes and self._may_look_again(condition.kind):
                    raise Unavailable(f"alerts of the kind {condition.kind} wait: {why}") from error
                if condition.needs_news and (count := sum(map(_is_trouble, news.changes))):
                    text = f"changes that may be trouble could not be looked at ({count:,} in all): {why}"
                    unread = Happening(subject=str(condition.kind), text=text, at=now)
                    looks.append((condition.kind, Look(happened=[unread])))
                _log.exception("alerts.look_broke", kind=str(condition.kind))
            except Exception:  # one that breaks must not keep the others from being told
                _log.exception("alerts.look_broke", kind=str(condition.kind))
            else:
                self._failed_looks.pop(condition.kind, None)
        return looks

    def _may_look_again(self, kind: AlertKind) -> bool:
        """Return whether the news is to be looked at again, as a condition has failed that sees trouble only there."""
        tries = self._failed_looks.pop(kind, 0) + 1
        if tries >= MAX_LOOK_TRIES:
            return False
        self._failed_looks[kind] = tries
        return True

    def _compute_pause(self, now: int) -> float:
        state = self._state
        assert state is not None
        moments = (
            self._sending.find_next_due(now),
            planning.find_next_due(state, self._receivers, self._rules, now, self._sending.pending_messages),
        )
        pauses = [(moment - now) / 1000 + 0.001 for moment in moments if moment is not None and moment > now]
        return min([MAX_ALERT_ROUND_SECONDS, *pauses])


def _is_trouble(change: Change) -> bool:
    return (change.topic, change.state) in (("run", "failed"), ("delivery", "dead"), ("schedule", "missed"))
