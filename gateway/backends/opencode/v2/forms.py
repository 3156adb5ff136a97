"""The forms of opencode 2, as people are asked them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

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
    label: str = ""
    description: str = ""


class FormField(Struct):
    #: the name of its answer
    key: str
    #: string, number, integer, boolean or multiselect
    type: str = "string"
    title: str = ""
    description: str = ""
    required: bool = False
    options: list[FormOption] = field(default_factory=list)
    #: whether another text than one of the options is fine
    custom: bool = False
    #: on which other answers it depends; then it may be left out
    when: Any = None


class Form(Struct, rename={"session": "sessionID"}):
    id: str
    session: str
    title: str = ""
    fields: list[FormField] = field(default_factory=list)
    #: where people answer instead, in a browser
    url: str = ""


def make_form_question(form: Form) -> Question | None:
    """Return what people are asked; None if the form has a field that they cannot be asked for."""
    if not form.fields or any(one.type not in _FIELD_TYPES for one in form.fields):
        return None
    return Question(message=form.title or form.fields[0].title, fields=tuple(_make_field(one) for one in form.fields))


def _make_field(one: FormField) -> QuestionField:
    return QuestionField(
        name=one.key,
        title=one.title,
        description=one.description,
        type=FieldType.CHOICE if one.options else _FIELD_TYPES[one.type],
        options=tuple(Option(value=each.value, label=each.label, description=each.description) for each in one.options),
        multiple=one.type == "multiselect",
        required=one.required and not one.when,
        custom=one.custom,
    )
