"""Plans what to tell: pure functions, from what is stored and what was seen to what is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct, field

from gateway.domain import ids
from gateway.domain.alert import (
    ALERT_RATE_MILLISECONDS,
    MAX_OPEN_ALERTS,
    AlertContent,
    AlertEvent,
    AlertItem,
    AlertKind,
    AlertMessage,
    AlertMessageStatus,
    AlertState,
    AlertUpdate,
    OpenAlert,
    shorten_alert,
)
from gateway.domain.run import Run, Source
from gateway.engine.alerts.condition import Finding, Happening, Look
from gateway.security.unsafe_text import replace_unsafe

#: kinds that are not told again while they are open: nobody need hurry
_TOLD_ONCE = frozenset((AlertKind.UPDATE, AlertKind.SCHEDULE_MISSED))


#: why a message is given up
GONE_RECEIVER = "the receiver is no longer configured"


class AlertReceiver(Struct, frozen=True, kw_only=True):
    """Who is told, and of what."""

    name: str
    kinds: frozenset[str]
    #: ids or slugs of agents; all if empty
    agents: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    #: all if empty
    sources: frozenset[Source] = frozenset()
    #: messages in an hour
    per_hour: int
    #: tells whether its chat, webhook or command is another one now; empty where that is not known
    address_mark: str = ""

    def has_moved_from(self, old: AlertReceiver) -> bool:
        """Return whether it has another address than a receiver of the same name had: maybe that one was wrong."""
        return bool(old.address_mark) and old.address_mark != self.address_mark

    def wants_item(self, item: AlertItem, names: Collection[str], run: Run | None = None) -> bool:
        """Return whether it is told of an item, which may be about a run.

        Args:
            names: all names of the agent that the item belongs to; none if it belongs to none.
        """
        if item.kind not in self.kinds or (self.agents and names and self.agents.isdisjoint(names)):
            return False
        if item.kind != AlertKind.RUN_FAILED or run is None:
            return True
        has_labels = all(run.spec.labels.get(name) == value for name, value in self.labels.items())
        return has_labels and (not self.sources or run.spec.source in self.sources)


class TellingRules(Struct, frozen=True, kw_only=True):
    """When messages are sent, in milliseconds."""

    group: int
    #: None never tells again
    repeat: int | None


class AlertPlan(Struct, frozen=True, kw_only=True):
    """What is written, and how everything is after that."""

    opened: Sequence[OpenAlert]
    closed: Sequence[tuple[str, str]]
    messages: Sequence[AlertMessage]
    state: AlertState

    @property
    def has_news(self) -> bool:
        return bool(self.opened or self.closed or self.messages)

    def make_update(self, position: int) -> AlertUpdate:
        """Return what the store writes."""
        return AlertUpdate(
            revision=self.state.revision,
            position=position,
            opened=self.opened,
            closed=self.closed,
            messages=self.messages,
        )


def plan_alerts(
    state: AlertState,
    looks: Sequence[tuple[AlertKind, Look]],
    receivers: Sequence[AlertReceiver],
    rules: TellingRules,
    now: int,
    pending: Collection[AlertMessage] = (),
    find_names: Callable[[str], Collection[str]] = lambda agent: (agent,),
    before: Sequence[AlertReceiver] | None = None,
) -> AlertPlan:
    """Return what follows from what was seen: conditions that open and end, and messages that grow or become due.

    Args:
        pending: messages that are being sent: the next one to the same receiver collects until then.
        find_names: returns all names of an agent.
        before: the receivers that were told until now: others are told of all that is open. None: all were.
    """
    planner = _Planner(state, receivers, rules, now, find_names, pending)
    planner.add_newcomers(receivers if before is None else before)
    for kind, look in looks:
        planner.add_look(kind, look)
    return planner.finish()


class _Planner:
    """Holds what a plan is made of while it is made."""

    def __init__(
        self,
        state: AlertState,
        receivers: Sequence[AlertReceiver],
        rules: TellingRules,
        now: int,
        find_names: Callable[[str], Collection[str]],
        pending: Collection[AlertMessage],
    ) -> None:
        self._pending = pending
        self._state, self._receivers, self._rules, self._now = state, receivers, rules, now
        self._find_names = find_names
        self._open = {alert.key: alert for alert in state.open}
        self._unstored = {alert.key: alert for alert in state.unstored}
        self._opened: dict[tuple[str, str], OpenAlert] = {}
        self._closed: set[tuple[str, str]] = set()
        names = {receiver.name for receiver in receivers}
        self._collecting = {
            message.receiver: message
            for message in state.waiting
            if message.status is AlertMessageStatus.COLLECTING and message.receiver in names
        }
        #: messages to receivers that are no longer configured
        self._lost = [message for message in state.waiting if message.receiver not in names]
        self._changed: dict[str, AlertMessage] = {}
        #: names of receivers that have another address now
        self._moved: frozenset[str] = frozenset()

    def add_newcomers(self, before: Sequence[AlertReceiver]) -> None:
        """Tell receivers of what is open if they were not told because they are new, or did not want it.

        One with another address under the same name is new, too: what it was told may have gone to the wrong chat.

        Messages to receivers that are gone are given up. What they say has happened is passed on to those with a new
        name: maybe only the name is another one.
        """
        known = {receiver.name: receiver for receiver in before}
        fresh = [receiver for receiver in self._receivers if receiver.name not in known]
        for message in self._lost:
            for receiver in fresh:
                self._pass_on(message, receiver)
            self._changed[message.id] = msgspec.structs.replace(
                message, status=AlertMessageStatus.DEAD, error=GONE_RECEIVER, finished=self._now
            )
        self._moved = frozenset(
            one.name for one in self._receivers if (old := known.get(one.name)) is not None and one.has_moved_from(old)
        )
        for alert in self._open.values():
            item = self._describe_alert(alert, AlertEvent.CONTINUES, alert.text)
            names = self._list_names(item)
            for receiver in self._receivers:
                old = known.get(receiver.name)
                was_told = old is not None and old.wants_item(item, names) and receiver.name not in self._moved
                if receiver.wants_item(item, names) and not was_told and not self._is_waiting(receiver.name, alert):
                    self._add_item(receiver.name, item)

    def _is_waiting(self, receiver: str, alert: OpenAlert) -> bool:
        """Return whether a message that a receiver has not got yet tells of an alert."""
        return any(
            (one.kind, one.subject) == alert.key
            for message in (*self._pending, *self._collecting.values())
            if message.receiver == receiver
            for one in message.content.items
        )

    def _pass_on(self, message: AlertMessage, receiver: AlertReceiver) -> None:
        """Tell a receiver what has happened by a message to another one; what was only counted there is counted."""
        for key in message.content.counts:
            alike = [one for one in message.content.items if f"{one.kind}/{one.event}" == key]
            wanted = [
                one
                for one in alike
                if one.event == AlertEvent.HAPPENED and receiver.wants_item(one, self._list_names(one))
            ]
            left_out = message.content.counts[key] - len(alike)
            for number, item in enumerate(wanted):
                self._add_item(receiver.name, item, 1 + left_out if number == 0 else 1)

    def add_look(self, kind: AlertKind, look: Look) -> None:
        for happening in look.happened:
            self._tell(_make_item(kind, AlertEvent.HAPPENED, happening), happening.run)
        for finding in look.open:
            self._add_finding(kind, finding)
        for subject, text in look.ended.items():
            unstored = self._unstored.pop((kind, subject), None)
            alert = self._open.pop((kind, subject), unstored)
            if alert is not None:
                self._opened.pop(alert.key, None)
                self._closed.add(alert.key)
                self._tell(self._describe_alert(alert, AlertEvent.ENDED, text))

    def _add_finding(self, kind: AlertKind, finding: Finding) -> None:
        known = self._open.get((kind, finding.subject))
        if known is None and sum(kind == one for one, _ in self._open) >= MAX_OPEN_ALERTS:
            return
        if known is not None and not self._is_told_again(known, finding):
            if finding.level < known.level:  # it is less bad now: if it gets worse again, that is told
                eased = msgspec.structs.replace(known, level=finding.level)
                self._open[eased.key] = self._opened[eased.key] = eased
            return
        alert = OpenAlert(
            kind=kind,
            subject=finding.subject,
            text=clean_alert(finding.text),
            level=finding.level,
            agent=finding.agent,
            opened=self._now if known is None else known.opened,
            told=self._now,
        )
        self._open[alert.key] = self._opened[alert.key] = alert
        self._unstored.pop(alert.key, None)
        is_new = known is None or finding.level > known.level
        self._tell(self._describe_alert(alert, AlertEvent.OPENED if is_new else AlertEvent.CONTINUES, alert.text))

    def _is_told_again(self, known: OpenAlert, finding: Finding) -> bool:
        if finding.level > known.level:
            return True
        if self._rules.repeat is None or known.kind in _TOLD_ONCE:
            return False
        return self._now - known.told >= self._rules.repeat

    def _describe_alert(self, alert: OpenAlert, event: AlertEvent, text: str) -> AlertItem:
        return AlertItem(
            kind=alert.kind,
            event=event,
            subject=alert.subject,
            text=clean_alert(text),
            at=self._now,
            agent=alert.agent,
            since=None if event is AlertEvent.OPENED else alert.opened,
        )

    def _tell(self, item: AlertItem, run: Run | None = None) -> None:
        """Add an item to the message of each receiver that wants it."""
        names = self._list_names(item)
        for receiver in self._receivers:
            if receiver.wants_item(item, names, run):
                self._add_item(receiver.name, item)

    def _list_names(self, item: AlertItem) -> Collection[str]:
        return () if item.agent is None else self._find_names(item.agent)

    def _add_item(self, receiver: str, item: AlertItem, count: int = 1) -> None:
        """Add an item to the message that a receiver gets next. Args: count: for how many it stands."""
        message = self._collecting.get(receiver) or self._begin_message(receiver)
        grown = msgspec.structs.replace(message, content=message.content.add_item(item, count))
        self._collecting[receiver] = self._changed[grown.id] = grown

    def _begin_message(self, receiver: str) -> AlertMessage:
        return AlertMessage(
            id=ids.make_ulid(self._now),
            receiver=receiver,
            status=AlertMessageStatus.COLLECTING,
            content=AlertContent(),
            next_at=self._now + self._rules.group,
            created=self._now,
        )

    def finish(self) -> AlertPlan:
        """Let the messages that are due go, as far as their receivers take more in this hour."""
        busy = _list_busy(self._pending)
        # What went to the address from before takes nothing of what another one takes in an hour.
        released = {name: list(at) for name, at in self._state.released.items() if name not in self._moved}
        per_hour = {receiver.name: receiver.per_hour for receiver in self._receivers}
        for name, message in self._collecting.items():
            moments = [at for at in released.get(name, []) if self._now - ALERT_RATE_MILLISECONDS < at <= self._now]
            due = _find_due(message, moments, per_hour.get(name, 1), self._now, self._rules.group)
            if due > self._now or name in busy:
                continue
            released[name] = [*moments, self._now]
            self._changed[message.id] = msgspec.structs.replace(
                message, status=AlertMessageStatus.PENDING, next_at=self._now, released=self._now
            )
        after = _replace_messages(self._state.waiting, self._changed)
        return AlertPlan(
            opened=list(self._opened.values()),
            closed=sorted(self._closed - self._opened.keys()),
            messages=list(self._changed.values()),
            state=msgspec.structs.replace(
                self._state,
                open=list(self._open.values()),
                waiting=after,
                released=released,
                unstored=list(self._unstored.values()),
            ),
        )


def clean_alert(text: str) -> str:
    """Return a text on one line, not too long, and without what takes over a terminal or hides what it says."""
    return replace_unsafe(shorten_alert(text))


def _make_item(kind: AlertKind, event: AlertEvent, happening: Happening) -> AlertItem:
    return AlertItem(
        kind=kind,
        event=event,
        subject=happening.subject,
        text=clean_alert(happening.text),
        at=happening.at,
        agent=happening.agent,
        run=None if happening.run is None else happening.run.id,
    )


def _find_due(message: AlertMessage, released: Sequence[int], per_hour: int, now: int, group: int) -> int:
    """Return when a message that collects becomes due. What is far in the future is due now: the clock was set back."""
    due = message.next_at if message.next_at <= now + group else now
    if len(released) >= per_hour:
        due = max(due, released[-per_hour] + ALERT_RATE_MILLISECONDS)
    return due


def _replace_messages(messages: Iterable[AlertMessage], changed: Mapping[str, AlertMessage]) -> list[AlertMessage]:
    merged = {message.id: message for message in messages}
    return list({**merged, **changed}.values())


def _list_busy(pending: Collection[AlertMessage]) -> Collection[str]:
    """Return the receivers that a message is being sent to."""
    return {message.receiver for message in pending}


def find_next_due(
    state: AlertState,
    receivers: Sequence[AlertReceiver],
    rules: TellingRules,
    now: int,
    pending: Collection[AlertMessage] = (),
) -> int | None:
    """Return when the next message stops collecting, in milliseconds since 1970 UTC; None if none collects.

    Args:
        pending: as for `plan_alerts`.
    """
    busy = _list_busy(pending)
    per_hour = {receiver.name: receiver.per_hour for receiver in receivers}
    return min(
        (
            _find_due(
                message,
                state.released.get(message.receiver, ()),
                per_hour.get(message.receiver, 1),
                now,
                rules.group,
            )
            for message in state.waiting
            if message.status is AlertMessageStatus.COLLECTING and message.receiver not in busy
        ),
        default=None,
    )
