"""Reads the events of version 2 of opencode's API, and returns them in the form of version 1.

An event says who, what and where in `data`. Nothing is sent again after a cut: the turn then reads the messages.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from gateway.backends.opencode import wire
from gateway.backends.opencode.v2.forms import Form, read_form
from gateway.backends.opencode.v2.wire import make_tool_part, name_text_part, read_error, read_output, read_resources
from gateway.json_data import surrogates

#: tool calls whose names are kept; only the first event of a call has the name
MAX_KEPT_CALLS = 1000


class _EventData(
    Struct,
    rename={
        "session": "sessionID",
        "message": "assistantMessageID",
        "text_id": "textID",
        "reasoning_id": "reasoningID",
        "call_id": "callID",
        "request": "requestID",
        "parent": "parentID",
        "output_paths": "outputPaths",
    },
):
    """What an event may hold; each kind has some of it."""

    session: str = ""
    message: str = ""
    text_id: str = ""
    reasoning_id: str = ""
    #: number of a text or a reasoning among its kind in the message
    ordinal: int = 0
    delta: str = ""
    text: Any = ""
    call_id: str = ""
    #: of a request or a tool call
    id: str = ""
    name: str = ""
    tool: Any = ""
    input: Any = None
    content: Any = None
    output_paths: Any = None
    error: Any = None
    finish: str = ""
    tokens: wire.Tokens | None = None
    cost: float = 0
    attempt: int = 0
    #: when the model is tried again, in milliseconds since 1970 UTC
    at: float = 0
    action: str = ""
    resources: Any = None
    request: str = ""
    parent: str | None = None
    info: Any = None
    questions: list[wire.QuestionInfo] = field(default_factory=list)
    form: Form | None = None


class _Event(Struct):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


_EVENT_DECODER = msgspec.json.Decoder(_Event)
_DATA_DECODER = msgspec.json.Decoder(_EventData)


class EventTranslator:
    """Translates the events of one server."""

    def __init__(self) -> None:
        #: names of the tools of the newest calls
        self._tools: OrderedDict[str, str] = OrderedDict()

    def translate_event(self, data: bytes) -> wire.WireEvent | None:
        """Read one event; return None if a turn does not use it or it cannot be read."""
        try:
            event = _EVENT_DECODER.decode(surrogates.replace_lone_surrogates(data))
            # 1.18 has `session.next.text.delta` and `permission.v2.asked`.
            kind = event.type.replace("session.next.", "session.", 1).replace(".v2.", ".", 1)
            translate = _TRANSLATIONS.get(kind)
            return None if translate is None else translate(self, _DATA_DECODER.decode(event.data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    # --- sessions and steps -------------------------------------------------------------------

    def _read_created(self, data: _EventData) -> wire.WireEvent | None:
        inside = data.info.get("parentID") if isinstance(data.info, dict) else None
        parent = data.parent or inside
        return wire.SessionCreated(data.session, wire.SessionParent(parent)) if isinstance(parent, str) else None

    def _read_step_start(self, data: _EventData) -> wire.WireEvent:
        return wire.MessageUpdated(data.session, wire.MessageInfo(id=data.message, role="assistant"))

    def _read_step_end(self, data: _EventData) -> wire.WireEvent:
        tokens = data.tokens or wire.Tokens()
        return wire.StepEnded(data.session, data.message, tokens, data.cost, is_last=data.finish != "tool-calls")

    def _read_end(self, data: _EventData) -> wire.WireEvent:
        return wire.SessionIdle(data.session)

    def _read_failure(self, data: _EventData) -> wire.WireEvent:
        return wire.SessionFailed(error=read_error(data.error) or wire.Error(name="unknown"), session=data.session)

    def _read_retry(self, data: _EventData) -> wire.WireEvent:
        error = read_error(data.error)
        why = error.short_text if error is not None else ""
        return wire.StatusChanged(data.session, wire.SessionStatus("retry", data.attempt, why, data.at))

    # --- parts --------------------------------------------------------------------------------

    def _read_text_start(self, data: _EventData) -> wire.WireEvent:
        return wire.PartUpdated(data.session, _make_text_part(data, "text"))

    def _read_reasoning_start(self, data: _EventData) -> wire.WireEvent:
        return wire.PartUpdated(data.session, _make_text_part(data, "reasoning"))

    def _read_text_delta(self, data: _EventData) -> wire.WireEvent:
        return wire.PartDelta(data.session, data.message, _name_part(data, "text"), "text", data.delta)

    def _read_reasoning_delta(self, data: _EventData) -> wire.WireEvent:
        return wire.PartDelta(data.session, data.message, _name_part(data, "reasoning"), "text", data.delta)

    def _read_text_end(self, data: _EventData) -> wire.WireEvent:
        return wire.PartUpdated(data.session, _make_text_part(data, "text", ended=True))

    def _read_reasoning_end(self, data: _EventData) -> wire.WireEvent:
        return wire.PartUpdated(data.session, _make_text_part(data, "reasoning", ended=True))

    def _read_tool_name(self, data: _EventData) -> None:
        self._tools[data.call_id or data.id] = data.name
        if len(self._tools) > MAX_KEPT_CALLS:
            self._tools.popitem(last=False)

    def _read_tool_call(self, data: _EventData) -> wire.WireEvent:
        return self._make_tool_event(data, wire.ToolState("running", data.input))

    def _read_tool_success(self, data: _EventData) -> wire.WireEvent:
        paths = data.output_paths
        whole = {"outputPath": paths[0]} if isinstance(paths, list) and paths else None
        state = wire.ToolState("completed", data.input, output=_read_content(data.content), metadata=whole)
        return self._make_tool_event(data, state)

    def _read_tool_failure(self, data: _EventData) -> wire.WireEvent:
        error = read_error(data.error)
        told = error.short_text if error is not None else ""
        return self._make_tool_event(
            data, wire.ToolState("error", data.input, output=_read_content(data.content), error=told)
        )

    def _make_tool_event(self, data: _EventData, state: wire.ToolState) -> wire.WireEvent:
        call = data.call_id or data.id
        named = data.tool if isinstance(data.tool, str) else ""
        name = named or self._tools.get(call, "tool")
        return wire.PartUpdated(data.session, make_tool_part(data.message, call, name, state))

    # --- requests -----------------------------------------------------------------------------

    def _read_permission(self, data: _EventData) -> wire.WireEvent:
        return wire.PermissionAsked(data.id, data.session, data.action, read_resources(data.resources))

    def _read_reply(self, data: _EventData) -> wire.WireEvent:
        return wire.PermissionReplied(data.session, data.request or data.id)

    def _read_question(self, data: _EventData) -> wire.WireEvent:
        return wire.QuestionAsked(data.id, data.session, data.questions)

    def _read_form(self, data: _EventData) -> wire.WireEvent | None:
        return None if data.form is None else read_form(data.form)


def _name_part(data: _EventData, kind: str) -> str:
    return name_text_part(data.message, kind, data.text_id or data.reasoning_id or data.ordinal)


def _make_text_part(data: _EventData, kind: str, *, ended: bool = False) -> wire.Part:
    text = data.text if ended and isinstance(data.text, str) else ""
    time = wire.Time(end=1 if ended else None)
    return wire.Part(id=_name_part(data, kind), message=data.message, type=kind, text=text, time=time)


def _read_content(content: Any) -> str:
    return read_output(content) if isinstance(content, list) else ""


_TRANSLATIONS: Mapping[str, Callable[[EventTranslator, _EventData], wire.WireEvent | None]] = {
    "session.created": EventTranslator._read_created,
    "session.step.started": EventTranslator._read_step_start,
    "session.step.ended": EventTranslator._read_step_end,
    "session.step.failed": EventTranslator._read_step_end,
    "session.execution.succeeded": EventTranslator._read_end,
    "session.execution.interrupted": EventTranslator._read_end,
    "session.execution.failed": EventTranslator._read_failure,
    "session.retry.scheduled": EventTranslator._read_retry,
    "session.retried": EventTranslator._read_retry,
    "session.text.started": EventTranslator._read_text_start,
    "session.text.delta": EventTranslator._read_text_delta,
    "session.text.ended": EventTranslator._read_text_end,
    "session.reasoning.started": EventTranslator._read_reasoning_start,
    "session.reasoning.delta": EventTranslator._read_reasoning_delta,
    "session.reasoning.ended": EventTranslator._read_reasoning_end,
    "session.tool.input.started": EventTranslator._read_tool_name,
    "session.tool.called": EventTranslator._read_tool_call,
    "session.tool.success": EventTranslator._read_tool_success,
    "session.tool.failed": EventTranslator._read_tool_failure,
    "permission.asked": EventTranslator._read_permission,
    "permission.replied": EventTranslator._read_reply,
    "question.asked": EventTranslator._read_question,
    "question.replied": EventTranslator._read_reply,
    "question.rejected": EventTranslator._read_reply,
    "form.created": EventTranslator._read_form,
    "form.replied": EventTranslator._read_reply,
    "form.cancelled": EventTranslator._read_reply,
}
