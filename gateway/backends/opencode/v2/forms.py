"""The forms of opencode 2, as people are asked them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from gateway.backends.opencode import wire
from gateway.domain.question import FieldType, Option, Question, QuestionField

_FIELD_TYPES = {
    "string": FieldType.TEXT,
    "number": FieldType.NUMBER,
    "integer": FieldType.INTEGER,
    "boolean": FieldType.BOOLEAN,
    "multiselect": FieldType.CHOICE,
}


class FormOption(Struct):
    value: str
    label: str | None = None
    description: str | None = None


class FormField(Struct):
    #: the name of its answer
    key: str
    #: string, number, integer, boolean or multiselect
    type: str = "string"
    title: str | None = None
    description: str | None = None
    required: bool | None = None
    options: list[FormOption] | None = None
    #: whether another text than one of the options is fine
    custom: bool | None = None
    #: on which other answers it depends; then it may be left out
    when: Any = None


class Form(Struct, rename={"session": "sessionID"}):
    """A form that waits for an answer: it must have one, even if the rest of it cannot be read."""

    id: str
    session: str
    title: Any = None
    fields: Any = None


def read_form(form: Form) -> wire.QuestionAsked:
    """Return a form as a question; without anything to ask if people cannot be asked what it wants."""
    return wire.QuestionAsked(form.id, form.session, is_form=True, form=_make_form_question(form))


def _make_form_question(form: Form) -> Question | None:
    try:
        fields = msgspec.convert(form.fields, list[FormField])
    except msgspec.ValidationError:
        return None
    if not fields or any(one.type not in _FIELD_TYPES for one in fields):
        return None
    title = form.title if isinstance(form.title, str) else ""
    return Question(message=title or fields[0].title or "", fields=tuple(_make_field(one) for one in fields))


def _make_field(one: FormField) -> QuestionField:
    options = [
        Option(value=each.value, label=each.label or "", description=each.description or "")
        for each in one.options or ()
    ]
    return QuestionField(
        name=one.key,
        title=one.title or "",
        description=one.description or "",
        type=FieldType.CHOICE if options else _FIELD_TYPES[one.type],
        options=tuple(options),
        multiple=one.type == "multiselect",
        required=bool(one.required) and not one.when,
        custom=bool(one.custom),
    )
