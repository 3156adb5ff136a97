"""The timeline of a run: its log as groups of events that belong together, such as the start and end of one tool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from gateway.domain import event
from gateway.domain.delivery import Delivery, DeliveryAttempt, DeliveryStatus
from gateway.domain.event import Event
from gateway.domain.run import Run, Status

#: groups of a timeline; the rest of a longer one is left out
MAX_TIMELINE_GROUPS = 2_000
#: characters of a title, and of a detail or an error
MAX_GROUP_TITLE_CHARACTERS, MAX_GROUP_DETAIL_CHARACTERS = 200, 1_000


class GroupKind(StrEnum):
    """What a group of events is about."""

    #: the run waits for its turn
    WAIT = "wait"
    #: an agent works on it
    ATTEMPT = "attempt"
    TOOL = "tool"
    #: a request for permission, or a question
    PERMISSION = "permission"
    #: the agent writes its answer
    TEXT = "text"
    THINKING = "thinking"
    DELIVERY = "delivery"
    FILE = "file"
    LOG = "log"


class GroupStatus(StrEnum):
    """How a group of events is going, or went."""

    RUNNING = "running"
    #: for its turn, for a person, or for another try
    WAITING = "waiting"
    OK = "ok"
    ERROR = "error"
    DENIED = "denied"


class Group(msgspec.Struct, kw_only=True):
    """Events that belong together. Times are milliseconds since 1970 UTC."""

    kind: GroupKind
    #: what it is, in a few words
    title: str
    #: the attempt in which it began, 0 before the first; of a delivery, the number of the try
    attempt: int
    started: int
    #: None while it goes on
    ended: int | None = None
    status: GroupStatus
    #: numbers of its first and last event; None if the log has none of it
    first_event: int | None = None
    last_event: int | None = None
    #: more about it, such as the arguments of a tool; long ones are shortened
    detail: str | None = None
    #: why it failed
    error: str | None = None


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """A run from its beginning to its end, or until now."""

    #: oldest first
    groups: Sequence[Group]
    #: in milliseconds: how long the run waited for its turn or for a person, and how long its agent worked
    waited: int
    worked: int
    #: False if the log or the list of groups was cut
    is_complete: bool


def build_timeline(
    run: Run,
    events: Iterable[Event],
    deliveries: Sequence[tuple[Delivery, Sequence[DeliveryAttempt]]],
    now: int,
    *,
    is_complete: bool = True,
) -> Timeline:
    """Return the timeline of a run.

    Args:
        events: the beginning of its log, in order.
        deliveries: what is sent when it has ended, with the tries.
        now: milliseconds since 1970 UTC.
        is_complete: whether these are all its events.
    """
    builder = _Builder(run)
    first = 0
    for one in events:
        first = first or one.number
        builder.add(one)
    builder.end_unfinished(is_complete and first == 1)
    groups = sorted(builder.groups, key=lambda group: (group.started, group.first_event or 0))
    tries = [group for sent, its_tries in deliveries for group in _show_delivery(sent, its_tries)]
    groups += sorted(tries, key=lambda group: group.started)
    waited, worked = _sum_times(groups, run.finished or now)
    return Timeline(
        groups=groups[:MAX_TIMELINE_GROUPS],
        waited=waited,
        worked=worked,
        is_complete=is_complete and first == 1 and len(groups) <= MAX_TIMELINE_GROUPS,
    )


class _Builder:
    """Collects the groups of a run, event by event."""

    def __init__(self, run: Run) -> None:
        self.groups: list[Group] = []
        self._run = run
        self._attempt = 0
        #: time and number of the newest event
        self._at, self._number = run.created, 0
        #: what goes on: the wait or the attempt, the text or the thinking
        self._phase: Group | None = None
        self._stretch: Group | None = None
        #: by their ids
        self._tools: dict[str, Group] = {}
        self._asked: dict[str, Group] = {}

    def add(self, one: Event) -> None:
        before = self._at
        self._at, self._number = one.at, one.number
        data = one.data
        if isinstance(data, event.Text | event.Thinking):
            self._add_piece(data)
            return
        if isinstance(data, event.Usage):  # comes in the middle of a text, and says nothing of it
            return
        self._end_stretch()
        if isinstance(data, event.Status):
            self._change_status(data)
        elif isinstance(data, event.Tool):
            self._end(self._tools.pop(data.id, None), GroupStatus.OK)
            self._tools[data.id] = self._begin(
                GroupKind.TOOL, data.title or data.name, GroupStatus.RUNNING, detail=_describe_args(data)
            )
        elif isinstance(data, event.ToolEnd):
            # A tool whose start was not told
            group = self._tools.pop(data.id, None) or self._begin(GroupKind.TOOL, data.name, GroupStatus.RUNNING)
            status, error = (GroupStatus.ERROR, data.output or "failed") if data.is_error else (GroupStatus.OK, None)
            self._end(group, status, error=error)
        elif isinstance(data, event.Permission):
            self._add_permission(data)
        elif isinstance(data, event.MadeFile):
            detail = f"{data.media_type}, {data.size} bytes"
            self._end(self._begin(GroupKind.FILE, data.name, GroupStatus.OK, detail=detail), GroupStatus.OK)
        elif isinstance(data, event.Log):
            status = GroupStatus.ERROR if data.level == "error" else GroupStatus.OK
            self._end(self._begin(GroupKind.LOG, data.message, status, detail=data.level), status)
        else:
            self._end_run(data, before)

    def end_unfinished(self, is_whole: bool) -> None:
        """End what goes on at the end of the events.

        Args:
            is_whole: whether the events are all of the run.
        """
        if is_whole:
            if not self._run.status.is_final:
                self._end_stretch(GroupStatus.RUNNING)
            return
        # What became of it is in events that are not here.
        status = GroupStatus.OK if self._run.status.is_final else GroupStatus.RUNNING
        self._end_stretch(status)
        for group in (*self._tools.values(), *self._asked.values()):
            if self._run.status.is_final:
                self._end(group, status)
        if self._run.finished is not None and self._phase is not None and self._phase.ended is None:
            self._at = self._run.finished
            self._end(self._phase, _judge_run(self._run.status), error=_explain_end(self._run.status, self._run.error))

    def _begin(self, kind: GroupKind, title: str, status: GroupStatus, detail: str | None = None) -> Group:
        group = Group(
            kind=kind,
            title=_shorten(title, MAX_GROUP_TITLE_CHARACTERS),
            attempt=self._attempt,
            started=self._at,
            status=status,
            first_event=self._number,
            last_event=self._number,
            detail=None if not detail else _shorten(detail, MAX_GROUP_DETAIL_CHARACTERS),
        )
        self.groups.append(group)
        return group

    def _end(
        self, group: Group | None, status: GroupStatus, *, detail: str | None = None, error: str | None = None
    ) -> None:
        if group is None:
            return
        group.ended, group.status, group.last_event = self._at, status, self._number
        group.detail = group.detail if detail is None else detail
        group.error = None if error is None else _shorten(error, MAX_GROUP_DETAIL_CHARACTERS)

    def _add_piece(self, data: event.Text | event.Thinking) -> None:
        kind = GroupKind.TEXT if isinstance(data, event.Text) else GroupKind.THINKING
        if self._stretch is None or self._stretch.kind is not kind:
            self._end_stretch()
            self._stretch = self._begin(kind, "answer" if kind is GroupKind.TEXT else "thinking", GroupStatus.RUNNING)
        group = self._stretch
        group.ended, group.last_event = self._at, self._number
        if len(group.detail or "") < MAX_GROUP_DETAIL_CHARACTERS:
            group.detail = _shorten((group.detail or "") + data.delta, MAX_GROUP_DETAIL_CHARACTERS)

    def _end_stretch(self, status: GroupStatus = GroupStatus.OK) -> None:
        """End the text or the thinking: at its last piece, not at what came after it."""
        if self._stretch is not None:
            self._stretch.status = status
            if status is GroupStatus.RUNNING:
                self._stretch.ended = None
            self._stretch = None

    def _change_status(self, data: event.Status) -> None:
        is_start = data.status == Status.RUNNING
        if self._phase is not None and self._phase.kind is GroupKind.ATTEMPT:
            self._end_attempt(GroupStatus.ERROR, data.reason or "interrupted")
        else:
            self._end(self._phase, GroupStatus.OK)
        if is_start:
            self._attempt = data.attempt or self._attempt + 1
            self._phase = self._begin(GroupKind.ATTEMPT, f"attempt {self._attempt}", GroupStatus.RUNNING)
        else:
            title = "held" if data.status == Status.HELD else "queued again" if self._attempt else "queued"
            self._phase = self._begin(GroupKind.WAIT, title, GroupStatus.WAITING, detail=data.reason)

    def _end_attempt(self, status: GroupStatus, error: str | None) -> None:
        """End an attempt, and what goes on in it."""
        for group in self._tools.values():  # of a good attempt they are done, although nobody told so
            self._end(group, status, error=None if status is GroupStatus.OK else "its attempt ended first")
        for group in self._asked.values():
            self._end(group, GroupStatus.DENIED, error="its attempt ended first")
        self._tools, self._asked = {}, {}
        self._end(self._phase, status, error=error)

    def _end_run(self, data: event.End, before: int) -> None:
        status, error = _judge_run(data.status), _explain_end(data.status, data.error)
        if self._phase is None and self._run.started is not None:  # the log was pruned: its end is left
            self._at = self._run.created
            self._phase = self._begin(GroupKind.WAIT, "queued", GroupStatus.WAITING)
            self._at = self._run.started
            self._end(self._phase, GroupStatus.OK)
            self._attempt = self._run.attempt
            self._phase = self._begin(GroupKind.ATTEMPT, f"attempt {self._attempt}", GroupStatus.RUNNING)
            self._at = self._run.finished or before
        if self._phase is not None and self._phase.kind is GroupKind.WAIT:
            self._end(self._phase, status, error=error)
        else:
            self._end_attempt(status, error)

    def _add_permission(self, data: event.Permission) -> None:
        group = self._asked.pop(data.id, None)
        if not data.answer:
            self._asked[data.id] = self._begin(GroupKind.PERMISSION, data.action, GroupStatus.WAITING)
            return
        if group is None:  # a policy has answered at once
            group = self._begin(GroupKind.PERMISSION, data.action, GroupStatus.WAITING)
        status = GroupStatus.DENIED if data.answer == "deny" else GroupStatus.OK
        by = f" by {data.by}" if data.by else " by nobody" if data.reason else " by the policy"
        self._end(group, status, detail=data.answer + by, error=_DENIALS.get(data.reason))


_DENIALS = {"deadline": "nobody answered in time", "withdrawn": "the agent no longer waited for an answer"}


def _judge_run(status: str) -> GroupStatus:
    return GroupStatus.OK if status == Status.SUCCEEDED else GroupStatus.ERROR


def _explain_end(status: str, error: str | None) -> str | None:
    return error or ("cancelled" if status == Status.CANCELLED else None)


def _show_delivery(sent: Delivery, tries: Sequence[DeliveryAttempt]) -> list[Group]:
    """Return a group for each try, and one for the next."""
    groups = [
        _make_try(
            sent,
            one.number,
            started=one.at,
            ended=one.at + (one.took or 0),
            status=GroupStatus.OK if one.error is None else GroupStatus.ERROR,
            error=one.error,
        )
        for one in tries
    ]
    began = groups[-1].ended if groups and groups[-1].ended else sent.created
    number = tries[-1].number + 1 if tries else sent.attempt + 1
    if sent.status is DeliveryStatus.PENDING:
        groups.append(_make_try(sent, number, started=began, status=GroupStatus.WAITING))
    elif sent.status is DeliveryStatus.SENDING:
        groups.append(_make_try(sent, number, started=began, status=GroupStatus.RUNNING))
    elif not tries:  # from before tries were kept
        status = GroupStatus.OK if sent.status is DeliveryStatus.DELIVERED else GroupStatus.ERROR
        groups.append(
            _make_try(sent, sent.attempt, started=began, ended=sent.finished, status=status, error=sent.error)
        )
    return groups


def _make_try(
    sent: Delivery,
    number: int,
    *,
    started: int,
    status: GroupStatus,
    ended: int | None = None,
    error: str | None = None,
) -> Group:
    return Group(
        kind=GroupKind.DELIVERY,
        title=_shorten(f"{sent.target.kind}: {sent.target.address}", MAX_GROUP_TITLE_CHARACTERS),
        attempt=number,
        started=started,
        ended=ended,
        status=status,
        error=None if error is None else _shorten(error, MAX_GROUP_DETAIL_CHARACTERS),
    )


def _describe_args(data: event.Tool) -> str | None:
    args: Any = data.args
    if args in (None, {}, [], ""):
        return data.name if data.title else None
    return args if isinstance(args, str) else msgspec.json.encode(args).decode()


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _sum_times(groups: Sequence[Group], now: int) -> tuple[int, int]:
    """Return how long a run has waited for its turn or for a person, and how long its agent has worked."""
    turns = [(one.started, one.ended or now) for one in groups if one.kind is GroupKind.WAIT]
    people = _merge((one.started, one.ended or now) for one in groups if one.kind is GroupKind.PERMISSION)
    attempts = sum((one.ended or now) - one.started for one in groups if one.kind is GroupKind.ATTEMPT)
    asking = sum(end - begin for begin, end in people)
    return sum(end - begin for begin, end in turns) + asking, max(0, attempts - asking)


def _merge(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans of time with those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged
