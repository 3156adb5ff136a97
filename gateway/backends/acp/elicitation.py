"""Questions of ACP agents, which the protocol calls elicitation: a form becomes a question that people answer.

Protocol: https://agentclientprotocol.com/protocol/elicitation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from acp.schema import (
    AcceptElicitationResponse,
    CancelElicitationResponse,
    CreateElicitationResponse,
    DeclineElicitationResponse,
    ElicitationBooleanPropertySchema,
    ElicitationFormRequestMode,
    ElicitationFormSessionMode,
    ElicitationIntegerPropertySchema,
    ElicitationMode,
    ElicitationMultiSelectPropertySchema,
    ElicitationNumberPropertySchema,
    ElicitationSchema,
    ElicitationStringPropertySchema,
    EnumOption,
    StringMultiSelectItems,
    TitledMultiSelectItems,
)

from gateway.domain.ports.backend import Turn
from gateway.domain.question import AnswerContent, AnswerValue, FieldType, Option, Question, QuestionField

#: ends the name of the text field that Claude Code puts next to a choice, for another answer than its options
_CUSTOM_SUFFIX = "_custom"
#: the field of a form without fields: it asks whether to go on
_CONFIRM = "go_on"


class QuestionResponder:
    """Answers the forms of one turn, by asking people."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        #: questions that people have not answered yet
        self._waiting: set[asyncio.Future[AnswerContent | None]] = set()

    async def answer_form(self, message: str, mode: ElicitationMode) -> CreateElicitationResponse:
        """Ask people. Without an answer, the agent is told that there is none; at the end of the turn, to cancel."""
        if not isinstance(mode, ElicitationFormSessionMode | ElicitationFormRequestMode):
            return DeclineElicitationResponse(action="decline")
        question = make_question(message, mode.requested_schema)
        asking = asyncio.ensure_future(self._turn.ask_question(question))
        self._waiting.add(asking)
        asking.add_done_callback(self._waiting.discard)
        await asyncio.wait({asking})
        if asking.cancelled():
            return CancelElicitationResponse(action="cancel")
        content = render_content(question, asking.result())
        if content is None:
            return DeclineElicitationResponse(action="decline")
        return AcceptElicitationResponse(action="accept", content=content)

    def withdraw_questions(self) -> None:
        """Cancel the open questions."""
        for asking in self._waiting:
            asking.cancel()


def make_question(message: str, schema: ElicitationSchema) -> Question:
    """Return what people are asked. Fields that are not required, and whose type we do not know, are left out."""
    properties, required = schema.properties or {}, set(schema.required or ())
    companions = {name for name in properties if _is_companion(name, properties, required)}
    fields = [
        _make_field(name, about, is_required=name in required, custom=name + _CUSTOM_SUFFIX in companions)
        for name, about in properties.items()
        if name not in companions and (name in required or _read_type(about) is not None)
    ]
    if not properties:
        fields = [QuestionField(name=_CONFIRM, title="Go on?", type=FieldType.BOOLEAN)]
    return Question(message=message, fields=tuple(fields))


def render_content(question: Question, content: AnswerContent | None) -> dict[str, AnswerValue] | None:
    """Return the content for the agent; None if there is no answer."""
    if content is None or content.get(_CONFIRM) is False:
        return None
    rendered: dict[str, AnswerValue] = {}
    for field in question.fields:
        if field.name in content and field.name != _CONFIRM:
            rendered |= _render_value(field, content[field.name])
    return rendered


def _render_value(field: QuestionField, value: AnswerValue) -> Mapping[str, AnswerValue]:
    """Return an answer to a field; another text than its options goes to the field next to it."""
    if not field.custom:
        return {field.name: value}
    known = {option.value for option in field.options}
    given = value if isinstance(value, list) else [str(value)]
    chosen = [one for one in given if one in known]
    others = ", ".join(one for one in given if one not in known)
    rendered: dict[str, AnswerValue] = {field.name + _CUSTOM_SUFFIX: others} if others else {}
    if chosen:
        rendered[field.name] = chosen if field.multiple else chosen[0]
    return rendered


def _is_companion(name: str, properties: Mapping[str, Any], required: Collection[str]) -> bool:
    """Return whether a field takes another text than the options of the field next to it."""
    choice, about = properties.get(name.removesuffix(_CUSTOM_SUFFIX)), properties[name]
    neighbour = None if choice is None else _read_type(choice)
    is_text = isinstance(about, ElicitationStringPropertySchema) and _is_text(about)
    return is_text and name not in required and neighbour is not None and neighbour[0] is FieldType.CHOICE


def _make_field(name: str, about: Any, *, is_required: bool, custom: bool) -> QuestionField:
    # A choice without options stands for a type that we do not know: people cannot be asked it.
    kind, options = _read_type(about) or (FieldType.CHOICE, ())
    return QuestionField(
        name=name,
        title=getattr(about, "title", None) or "",
        description="; ".join(filter(None, (getattr(about, "description", None), _describe_limits(about)))),
        type=kind,
        options=options,
        multiple=isinstance(about, ElicitationMultiSelectPropertySchema),
        required=is_required,
        custom=custom,
    )


def _read_type(about: Any) -> tuple[FieldType, tuple[Option, ...]] | None:
    """Return the type of a field, and its options; None if we do not know the type."""
    match about:
        case ElicitationBooleanPropertySchema():
            return FieldType.BOOLEAN, ()
        case ElicitationIntegerPropertySchema():
            return FieldType.INTEGER, ()
        case ElicitationNumberPropertySchema():
            return FieldType.NUMBER, ()
        case ElicitationStringPropertySchema() if _is_text(about):
            return FieldType.TEXT, ()
        case ElicitationStringPropertySchema(one_of=titled, enum=values):
            return FieldType.CHOICE, _make_options(titled, values)
        case ElicitationMultiSelectPropertySchema(items=TitledMultiSelectItems(any_of=titled)):
            return FieldType.CHOICE, _make_options(titled, None)
        case ElicitationMultiSelectPropertySchema(items=StringMultiSelectItems(enum=values)):
            return FieldType.CHOICE, _make_options(None, values)
    return None


def _is_text(about: ElicitationStringPropertySchema) -> bool:
    return not about.one_of and not about.enum


def _make_options(titled: list[EnumOption] | None, values: list[str] | None) -> tuple[Option, ...]:
    if titled:
        return tuple(Option(value=one.const, label=one.title, description=one.description or "") for one in titled)
    return tuple(Option(value=value) for value in values or ())


def _describe_limits(about: Any) -> str:
    """Return the limits of a field in words; the agent checks them."""
    words = {
        "minimum": "at least {}",
        "maximum": "at most {}",
        "min_length": "at least {} characters",
        "max_length": "at most {} characters",
        "min_items": "at least {} of them",
        "max_items": "at most {} of them",
        "pattern": "of the form {}",
        "format": "a {}",
    }
    limits = {name: getattr(about, name, None) for name in words}
    return ", ".join(words[name].format(limit) for name, limit in limits.items() if limit is not None)
