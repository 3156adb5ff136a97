"""Questions of agents as forms of an editor: `elicitation/create` of ACP.

Format: https://agentclientprotocol.com/protocol/v1/schema, a restricted JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.domain.question import AnswerContent, AnswerValue, FieldType, Question, QuestionField
from gateway.domain.typed_answer import read_typed_value

_TYPES = {FieldType.NUMBER: "number", FieldType.INTEGER: "integer", FieldType.BOOLEAN: "boolean"}


def make_form(question: Question) -> dict[str, Any]:
    """Return the parameters that ask the user a question."""
    return {
        "mode": "form",
        "message": question.message,
        "requestedSchema": {
            "type": "object",
            "properties": {field.name: _make_property(field) for field in question.fields},
            "required": [field.name for field in question.fields if field.required],
        },
    }


def read_form(question: Question, result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the body that answers a question; None if the user has only closed the form, and it waits for others."""
    action = (result or {}).get("action")
    if action == "decline":
        return {"answer": "deny"}
    if result is None or action != "accept":
        return None
    fields = {field.name: field for field in question.fields}
    given = result.get("content")
    filled = {name: value for name, value in given.items() if name in fields} if isinstance(given, dict) else {}
    try:
        content = msgspec.convert(filled, AnswerContent)
    except msgspec.ValidationError:
        return None
    return {"answer": "answer", "content": {name: _read_value(fields[name], value) for name, value in content.items()}}


def _read_value(field: QuestionField, value: AnswerValue) -> AnswerValue:
    """Return the answer to a field; a choice may have been a text in the form."""
    return read_typed_value(field, value) if field.type is FieldType.CHOICE and isinstance(value, str) else value


def _make_property(field: QuestionField) -> dict[str, Any]:
    shown = {"title": field.title or field.name, **({"description": field.description} if field.description else {})}
    options = [{"const": option.value, "title": option.label or option.value} for option in field.options]
    if field.type is not FieldType.CHOICE or field.custom or not options:
        # A choice that allows another text is a text: a form offers the options or a text, not both.
        listed = ", ".join(option["const"] for option in options)
        more = {"description": f"{field.description} ({listed})".strip()} if listed else {}
        return {"type": _TYPES.get(field.type, "string"), **shown, **more}
    if field.multiple:
        return {"type": "array", **shown, "items": {"anyOf": options}}
    return {"type": "string", **shown, "oneOf": options}
