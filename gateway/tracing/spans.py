"""Makes the spans of a run from what is stored of it, when it has ended.

run AGENT                       from its acceptance to its end
├─ accept
├─ wait                         until it is claimed; again after an interruption
├─ claim
├─ invoke_agent AGENT           one attempt
│  ├─ execute_tool NAME
│  └─ permission
└─ deliver KIND                 one try; these come later, when the run has ended
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from gateway.domain import event
from gateway.domain.agent import Agent
from gateway.domain.delivery import WEBHOOK_KIND, Delivery, DeliveryAttempt
from gateway.domain.event import Event
from gateway.domain.run import Run, Status
from gateway.domain.timeline import Group, GroupKind, GroupStatus, build_timeline
from gateway.domain.trace import (
    WHOLE_RUN,
    TraceContext,
    derive_span_id,
    find_context,
    name_attempt,
    parse_traceparent,
)
from gateway.tracing.attributes import Attribute, Operation, find_provider

#: characters of a text in a span
MAX_SPAN_TEXT_CHARACTERS = 8_192

#: what is the name of a tool for sure, such as `Bash` and `mcp__files__read`
_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_:-]{0,63}")

AttributeValue = str | int | float | bool | Sequence[str]


class SpanKind(StrEnum):
    """What a span is to others: `server` is a request that was received, `client` one that was sent."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


class Link(Struct, frozen=True):
    """A span of another trace that has to do with this one."""

    context: TraceContext
    #: what it has to do with it
    what: str


class Span(Struct, frozen=True, kw_only=True):
    """Something that took time. Times are milliseconds since 1970 UTC."""

    name: str
    kind: SpanKind = SpanKind.INTERNAL
    context: TraceContext
    #: None if it is the first of its trace
    parent: TraceContext | None
    started: int
    ended: int
    attributes: Mapping[str, AttributeValue]
    #: whether it went well; None if that is not for it to say
    ok: bool | None = None
    #: why it failed; empty if that could repeat what was asked or answered
    error: str = ""
    links: Sequence[Link] = ()
    #: times within it, by their names
    moments: Mapping[str, int] = field(default_factory=dict)


class TraceSettings(Struct, frozen=True, kw_only=True):
    """What spans have, and of which runs they are made."""

    #: share of the runs that are traced
    ratio: float = 1.0
    #: whether they have what was asked and answered
    with_content: bool = False


def build_run_spans(
    run: Run,
    events: Sequence[Event],
    agent: Agent | None,
    agent_name: str,
    settings: TraceSettings,
    *,
    is_whole: bool = True,
    linked: Mapping[str, Run] | None = None,
) -> list[Span]:
    """Return the spans of a run that has ended, without its deliveries; none if it is not in the sample.

    Args:
        agent: None if it is gone.
        agent_name: the name that people see.
        is_whole: whether these are all its events.
        linked: the runs that this one has to do with, by what it has to do with them.
    """
    builder = _RunSpans(run, events, agent, agent_name, settings)
    if not builder.context.is_sampled:
        return []
    builder.links = [
        Link(find_context(one.id, WHOLE_RUN, one.spec.traceparent, settings.ratio), what)
        for what, one in (linked or {}).items()
    ]
    timeline = build_timeline(run, events, (), run.finished or run.created, is_complete=is_whole)
    return [builder.make_root(), builder.make_accept(), *builder.make_parts(timeline.groups)]


def build_delivery_span(run: Run, sent: Delivery, tried: DeliveryAttempt, settings: TraceSettings) -> Span | None:
    """Return the span of a try to deliver the result of a run; None if the run is not in the sample."""
    root = find_context(run.id, WHOLE_RUN, run.spec.traceparent, settings.ratio)
    if not root.is_sampled:
        return None
    attributes: dict[str, AttributeValue] = {
        Attribute.RUN: run.id,
        Attribute.DELIVERY: sent.id,
        Attribute.DELIVERY_KIND: sent.target.kind,
        Attribute.DELIVERY_TRY: tried.number,
    }
    if sent.target.kind == WEBHOOK_KIND and (host := _find_host(sent.target.address)):
        attributes[Attribute.SERVER] = host
    if tried.http_status is not None:
        attributes[Attribute.HTTP_STATUS] = tried.http_status
    if tried.error is not None:
        attributes[Attribute.ERROR] = str(tried.http_status or "delivery_failed")
    return Span(
        name=f"deliver {sent.target.kind}",
        kind=SpanKind.CLIENT,
        context=_make_child(root, run.id, f"delivery/{sent.id}/{tried.number}"),
        parent=root,
        started=tried.at,
        ended=tried.at + (tried.took or 0),
        attributes=attributes,
        ok=tried.error is None,
        error=_explain_failure(tried, settings),
    )


def _explain_failure(tried: DeliveryAttempt, settings: TraceSettings) -> str:
    """Return why a try failed; without what the receiver said, which may repeat the answer."""
    if tried.error is None or settings.with_content:
        return _cut(tried.error or "")
    return "it failed" if tried.http_status is None else f"answered {tried.http_status}"


class _RunSpans:
    """Makes the spans of one run."""

    def __init__(
        self, run: Run, events: Sequence[Event], agent: Agent | None, agent_name: str, settings: TraceSettings
    ) -> None:
        self.context = find_context(run.id, WHOLE_RUN, run.spec.traceparent, settings.ratio)
        self.links: Sequence[Link] = ()
        self._run = run
        self._agent = agent
        self._agent_name = agent_name
        self._with_content = settings.with_content
        self._events = {one.number: one.data for one in events}
        self._ends = {one.data.id: one.data for one in events if isinstance(one.data, event.ToolEnd)}
        self._usage = _sum_usage(events)
        self._first_text = _find_first_texts(events)

    def make_root(self) -> Span:
        run = self._run
        attributes: dict[str, AttributeValue] = {
            **self._identify(),
            Attribute.SOURCE: run.spec.source,
            Attribute.STATUS: run.status,
            Attribute.ATTEMPTS: run.attempt,
        }
        optional = {
            Attribute.OUTCOME: run.outcome,
            Attribute.COST: run.usage.cost or None,
            Attribute.SUBMITTED_BY: run.spec.submitted_by,
            Attribute.SCHEDULE: run.spec.schedule_id,
            Attribute.ERROR: run.outcome if run.status is Status.FAILED else None,
        }
        attributes |= {name: value for name, value in optional.items() if value is not None}
        return Span(
            name=f"run {self._agent_name}",
            kind=SpanKind.SERVER,
            context=self.context,
            parent=parse_traceparent(run.spec.traceparent or ""),
            started=run.created,
            ended=run.finished or run.created,
            attributes=attributes,
            ok=_judge_status(run.status),
            error=self._show(run.error),
            links=self.links,
        )

    def make_accept(self) -> Span:
        """Return the span of the acceptance, which takes no time: it is the moment of a commit."""
        return self._make_moment("accept", "accept", self._run.created)

    def make_parts(self, groups: Sequence[Group]) -> Iterator[Span]:
        for number, group in enumerate(groups):
            match group.kind:
                case GroupKind.WAIT:
                    yield self._make_wait(group, number)
                case GroupKind.ATTEMPT:
                    yield self._make_moment("claim", f"claim/{group.attempt}", group.started, group.attempt)
                    yield self._make_attempt(group)
                case GroupKind.TOOL:
                    yield self._make_tool(group)
                case GroupKind.PERMISSION:
                    yield self._make_permission(group)

    def _identify(self) -> dict[str, AttributeValue]:
        return {
            Attribute.RUN: self._run.id,
            Attribute.AGENT_ID: self._run.spec.agent,
            Attribute.AGENT_NAME: self._agent_name,
            Attribute.CONVERSATION: self._run.spec.session,
        }

    def _make_moment(self, name: str, part: str, at: int, attempt: int = 0) -> Span:
        attributes: dict[str, AttributeValue] = {Attribute.RUN: self._run.id}
        if attempt:
            attributes[Attribute.ATTEMPT] = attempt
        context = _make_child(self.context, self._run.id, part)
        return Span(name=name, context=context, parent=self.context, started=at, ended=at, attributes=attributes)

    def _make_wait(self, group: Group, number: int) -> Span:
        attributes: dict[str, AttributeValue] = {Attribute.RUN: self._run.id}
        if group.detail:
            attributes[Attribute.WAIT_REASON] = group.detail
        return Span(
            name="wait",
            context=_make_child(self.context, self._run.id, f"wait/{group.first_event or number}"),
            parent=self.context,
            started=group.started,
            ended=self._end_of(group),
            attributes=attributes,
        )

    def _make_attempt(self, group: Group) -> Span:
        run, attempt = self._run, group.attempt
        usage = self._usage.get(attempt, event.Usage())
        model = run.spec.model or (self._agent.model if self._agent else None)
        is_last = attempt == run.attempt
        failed = group.status is GroupStatus.ERROR and run.status is not Status.CANCELLED
        attributes = {
            Attribute.OPERATION: Operation.INVOKE_AGENT.value,
            **self._identify(),
            Attribute.PROVIDER: self._find_provider(model),
            Attribute.ATTEMPT: attempt,
        }
        optional: dict[str, AttributeValue | None] = {
            Attribute.MODEL: model,
            Attribute.INPUT_TOKENS: usage.input or None,
            Attribute.OUTPUT_TOKENS: usage.output or None,
            Attribute.CACHED_TOKENS: usage.cached or None,
            Attribute.FINISH_REASONS: [run.finish] if is_last and run.finish is not None else None,
            Attribute.ERROR: (run.outcome if is_last else "interrupted") if failed else None,
            Attribute.INPUT_MESSAGES: self._show_message("user", run.spec.input),
            Attribute.OUTPUT_MESSAGES: self._show_message("assistant", run.result) if is_last else None,
        }
        attributes |= {name: value for name, value in optional.items() if value is not None}
        first = self._first_text.get(attempt)
        return Span(
            name=f"{Operation.INVOKE_AGENT} {self._agent_name}",
            kind=SpanKind.CLIENT,
            context=_make_child(self.context, run.id, name_attempt(attempt)),
            parent=self.context,
            started=group.started,
            ended=self._end_of(group),
            attributes=attributes,
            ok=False if failed else True if group.status is GroupStatus.OK else None,
            error=self._show(group.error) if is_last else group.error or "",
            moments={} if first is None else {"first text": first},
        )

    def _make_tool(self, group: Group) -> Span:
        said = self._events.get(group.first_event or 0)
        name, call, args = "tool", "", None
        if isinstance(said, event.Tool):
            name, call, args = said.name, said.id, said.args
        elif isinstance(said, event.ToolEnd):
            name, call = said.name, said.id
        if not self._with_content:
            name = _hide_title(name, args)
        attributes: dict[str, AttributeValue] = {
            Attribute.OPERATION: Operation.EXECUTE_TOOL.value,
            Attribute.RUN: self._run.id,
            Attribute.TOOL_NAME: name,
            Attribute.TOOL_CALL: call,
            Attribute.ATTEMPT: group.attempt,
        }
        failed = group.status is GroupStatus.ERROR
        if failed:
            attributes[Attribute.ERROR] = "tool_failed"
        if self._with_content:
            ended = self._ends.get(call)
            attributes |= {
                Attribute.TOOL_ARGUMENTS: _cut(msgspec.json.encode(args).decode()),
                Attribute.TOOL_RESULT: _cut(ended.output if ended is not None else ""),
            }
        return self._make_inner(f"{Operation.EXECUTE_TOOL} {name}", group, attributes, ok=not failed)

    def _make_permission(self, group: Group) -> Span:
        answer = self._events.get(group.last_event or 0)
        attributes: dict[str, AttributeValue] = {Attribute.RUN: self._run.id, Attribute.ATTEMPT: group.attempt}
        if isinstance(answer, event.Permission) and answer.answer:
            attributes[Attribute.PERMISSION_ANSWER] = answer.answer
            attributes[Attribute.PERMISSION_BY] = "person" if answer.by else answer.reason or "policy"
        if self._with_content:
            attributes[Attribute.PERMISSION_ACTION] = _cut(group.title)
        return self._make_inner("permission", group, attributes, ok=None)

    def _make_inner(
        self, name: str, group: Group, attributes: Mapping[str, AttributeValue], *, ok: bool | None
    ) -> Span:
        """Return a span of something in an attempt."""
        return Span(
            name=name,
            context=_make_child(self.context, self._run.id, f"event/{group.first_event}"),
            parent=_make_child(self.context, self._run.id, name_attempt(group.attempt)),
            started=group.started,
            ended=self._end_of(group),
            attributes=attributes,
            ok=ok,
            error="" if ok else self._show(group.error),
        )

    def _end_of(self, group: Group) -> int:
        return self._run.finished or group.started if group.ended is None else group.ended

    def _find_provider(self, model: str | None) -> str:
        agent = self._agent
        if agent is None:
            return find_provider(model, None, "unknown")
        program = getattr(agent.options, "preset", None)
        return find_provider(model, None if program is None else str(program), agent.backend)

    def _show(self, text: str | None) -> str:
        """Return a text that may repeat what was asked or answered; nothing if spans do not have that."""
        return _cut(text or "") if self._with_content else ""

    def _show_message(self, role: str, text: str | None) -> str | None:
        """Return a message as the conventions have it; None if spans do not have what was said."""
        if not self._with_content or text is None:
            return None
        message = {"role": role, "parts": [{"type": "text", "content": _cut(text)}]}
        return msgspec.json.encode([message]).decode()


def _make_child(root: TraceContext, run_id: str, part: str) -> TraceContext:
    return TraceContext(root.trace_id, derive_span_id(run_id, part), root.is_sampled)


def _judge_status(status: Status) -> bool | None:
    return {Status.SUCCEEDED: True, Status.FAILED: False}.get(status)


def _sum_usage(events: Sequence[Event]) -> Mapping[int, event.Usage]:
    """Return what each attempt has used."""
    found: dict[int, event.Usage] = {}
    attempt = 0
    for one in events:
        if isinstance(one.data, event.Status) and one.data.status == Status.RUNNING:
            attempt = one.data.attempt or attempt + 1
        elif isinstance(one.data, event.Usage):
            found[attempt] = found.get(attempt, event.Usage()) + one.data
    return found


def _find_first_texts(events: Sequence[Event]) -> Mapping[int, int]:
    """Return when the first text of each attempt came."""
    found: dict[int, int] = {}
    attempt = 0
    for one in events:
        if isinstance(one.data, event.Status) and one.data.status == Status.RUNNING:
            attempt = one.data.attempt or attempt + 1
        elif isinstance(one.data, event.Text):
            found.setdefault(attempt, one.at)
    return found


def _hide_title(name: str, args: Any) -> str:
    """Return the name of a tool, or `tool`: some agents tell a command or a file in place of a name."""
    is_given = f'"{name}"'.encode() in msgspec.json.encode(args)
    return "tool" if is_given or _TOOL_NAME.fullmatch(name) is None else name


def _find_host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _cut(text: str) -> str:
    if len(text) <= MAX_SPAN_TEXT_CHARACTERS:
        return text
    return text[: MAX_SPAN_TEXT_CHARACTERS - 1] + "…"
