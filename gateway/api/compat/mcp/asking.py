"""What agents ask, over MCP: a client that shows forms has its user answer while it waits for a task.

From version 2026-07-28 on, a result may be `input_required`: it has forms, and the client sends the same request
again with the user's responses (https://modelcontextprotocol.io/specification, "Multi Round-Trip Requests").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from gateway.api.routing import Call
from gateway.domain.event import Permission
from gateway.domain.page import Page
from gateway.domain.permission import Answer, GivenAnswer, PermissionRequest
from gateway.domain.question import AnswerContent, FieldType, QuestionField
from gateway.domain.typed_answer import read_typed_value
from gateway.errors import Conflict, InvalidRequest

_Call = Call[Any, Any]

#: follows the name of a field in the name of the one that takes another text than its options
_OWN_TEXT_SUFFIX = "_custom"
#: the field of a permission request
_ANSWER = "answer"
_ANSWER_TITLES = {Answer.ALLOW: "Allow", Answer.ALLOW_ALWAYS: "Always allow", Answer.DENY: "Deny"}
_SCHEMA_TYPES = {FieldType.NUMBER: "number", FieldType.INTEGER: "integer", FieldType.BOOLEAN: "boolean"}


async def list_open_requests(call: _Call, run: str) -> Sequence[PermissionRequest]:
    """Return the requests of a run that wait for an answer, the oldest first."""
    found = await call.engine.permissions.list_requests(run, Page())
    return [one for one in reversed(found) if one.answer is None]


async def wait_for_request(call: _Call, run: str, dismissed: Collection[str]) -> None:
    """Wait until a run has an open request, except those that the user has dismissed; or until it ends."""
    async with aclosing(call.engine.runs.watch_run(run)) as events:
        async for event in events:
            asks = isinstance(event.data, Permission) and not event.data.answer
            if asks and any(one.id not in dismissed for one in await list_open_requests(call, run)):
                return


async def answer_request(call: _Call, run: str, request: str, action: str, content: Mapping[str, Any]) -> bool:
    """Pass on what the user has done with a form: `accept`, `decline` or `cancel`; return whether it was answered.

    Raises:
        RunNotFound, PermissionNotFound: there is no such request.
        InvalidRequest: the content does not fit.
    """
    asked = await call.engine.permissions.get_request(run, request)
    given = _read_response(asked, action, content)
    if given is None:
        return False
    with suppress(Conflict):  # somebody else has answered, or the agent waits no longer
        await call.engine.permissions.answer_request(
            run, request, given.answer, call.principal.name, content=given.content
        )
    return True


def _read_response(asked: PermissionRequest, action: str, content: Mapping[str, Any]) -> GivenAnswer | None:
    """Return the user's answer; None if the form was dismissed without one."""
    if action != "accept":
        return GivenAnswer(Answer.DENY) if action == "decline" else None
    if asked.question is not None:
        return GivenAnswer(Answer.ANSWER, _read_content(asked.question.fields, content))
    answer = content.get(_ANSWER)
    if answer not in asked.choices:
        raise InvalidRequest(f"{_ANSWER}: it must be one of {', '.join(asked.choices)}.")
    return GivenAnswer(Answer(answer))


def _read_content(fields: Sequence[QuestionField], content: Mapping[str, Any]) -> AnswerContent:
    """Return the answers to the fields of a question, with the other texts in their places."""
    answers: AnswerContent = {name: value for name, value in content.items() if value is not None}
    for field in fields:
        typed = answers.get(field.name)
        if field.multiple and not field.options and isinstance(typed, str):  # the form has a text for it
            answers[field.name] = read_typed_value(field, typed)
        other = answers.pop(_name_own_text(field, fields), "") if _has_custom_field(field) else ""
        if isinstance(other, str) and other.strip():
            chosen = answers.get(field.name)
            answers[field.name] = [*(chosen if isinstance(chosen, list) else []), other] if field.multiple else other
    return answers


# --- forms --------------------------------------------------------------------------------------


def compose_message(asked: PermissionRequest) -> str:
    """Return what the user reads above the form of a request."""
    if asked.question is not None:
        return asked.question.message
    return f"The agent asks to be allowed: {asked.action}"


def make_schema(asked: PermissionRequest) -> dict[str, Any]:
    """Return the JSON Schema of the form of a request."""
    if asked.question is None:
        options = [{"const": choice, "title": _ANSWER_TITLES[choice]} for choice in asked.choices]
        answer = {"type": "string", "title": "Answer", "oneOf": options}
        return {"type": "object", "properties": {_ANSWER: answer}, "required": [_ANSWER]}
    properties: dict[str, Any] = {}
    for field in asked.question.fields:
        properties[field.name] = {**_describe(field.title, field.description), **_make_type(field)}
        if _has_custom_field(field):
            properties[_name_own_text(field, asked.question.fields)] = {
                "type": "string",
                **_describe("Another answer", ""),
            }
    needed = [field.name for field in asked.question.fields if field.required and not _has_custom_field(field)]
    return {"type": "object", "properties": properties, "required": needed}


def _has_custom_field(field: QuestionField) -> bool:
    """Return whether a form takes another text in a field of its own."""
    return field.custom and bool(field.options)


def _name_own_text(field: QuestionField, fields: Sequence[QuestionField]) -> str:
    """Return the name of the field that takes another text: one that no field of the question has."""
    name = field.name + _OWN_TEXT_SUFFIX
    while any(one.name == name for one in fields):
        name += "_"
    return name


def _describe(title: str, description: str) -> dict[str, str]:
    return {"title": title, **({"description": description} if description else {})}


def _make_type(field: QuestionField) -> dict[str, Any]:
    options = [
        {"const": one.value, "title": f"{one.label}: {one.description}" if one.description else one.label}
        for one in field.options
    ]
    if not options:
        return {"type": _SCHEMA_TYPES.get(field.type, "string")}
    return {"type": "array", "items": {"anyOf": options}} if field.multiple else {"type": "string", "oneOf": options}
