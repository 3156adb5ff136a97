"""Questions: what an agent asks that a yes or a no does not answer, and which answers fit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec import Struct

from gateway.errors import InvalidRequest
from gateway.process.terminal_text import clean_text
from gateway.security.unsafe_text import UNSAFE_CHARACTERS

#: fields of a question, and options of a field
MAX_QUESTION_FIELDS, MAX_FIELD_OPTIONS = 16, 100
#: characters of a question's message, and of the title or description of a field or an option
MAX_QUESTION_MESSAGE_CHARACTERS, MAX_FIELD_TEXT_CHARACTERS = 4000, 500
#: characters of a field's name, and of an option's value
MAX_FIELD_NAME_CHARACTERS, MAX_OPTION_VALUE_CHARACTERS = 100, 300
#: bytes of a whole question as JSON
MAX_QUESTION_BYTES = 64 * 1024
#: characters of a text in an answer
MAX_ANSWER_CHARACTERS = 10_000

#: the largest whole number in an answer: JSON parsers of other languages change larger ones
MAX_ANSWER_INTEGER = 1 << 53

_UNSAFE_IN_NAME = re.compile(rf"[{UNSAFE_CHARACTERS}\ud800-\udfff]")

#: the answer to one field: a list for a field of several options
AnswerValue = str | int | float | bool | list[str]
#: the answers to the fields of a question, by their names
AnswerContent = dict[str, AnswerValue]


class FieldType(StrEnum):
    """What the answer to a field is."""

    TEXT = "text"
    NUMBER = "number"
    #: a number without a fraction
    INTEGER = "integer"
    BOOLEAN = "boolean"
    #: one of the options of the field, or several
    CHOICE = "choice"


class Option(Struct, frozen=True, kw_only=True):
    """An option of a field."""

    #: what an answer has in its place
    value: str
    #: what people read
    label: str = ""
    #: more about it
    description: str = ""


class QuestionField(Struct, frozen=True, kw_only=True):
    """One thing that a question asks for."""

    #: the name of its answer
    name: str
    #: what people read
    title: str = ""
    #: more about it
    description: str = ""
    #: what its answer is: text, number, integer, boolean or choice
    type: FieldType = FieldType.TEXT
    #: the options of a choice
    options: tuple[Option, ...] = ()
    #: whether several options may be chosen: then the answer is a list
    multiple: bool = False
    #: whether the question cannot be answered without it
    required: bool = True
    #: whether another text than one of the options is fine
    custom: bool = False


class Question(Struct, frozen=True, kw_only=True):
    """What an agent asks people."""

    #: what people read first
    message: str
    #: what it asks for, at least one thing
    fields: tuple[QuestionField, ...]


def clean_question(question: Question) -> Question:
    """Return a question as it is shown and stored: its texts shortened, without what would control a terminal.

    Raises:
        ValueError: people cannot be asked this.
    """
    cleaned = Question(
        message=_clean_and_shorten(question.message, MAX_QUESTION_MESSAGE_CHARACTERS),
        fields=tuple(_clean_field(field) for field in question.fields),
    )
    names = [field.name for field in cleaned.fields]
    if not 1 <= len(names) <= MAX_QUESTION_FIELDS:
        raise ValueError(f"it has {len(names)} fields, not 1 to {MAX_QUESTION_FIELDS}")
    if len(set(names)) < len(names):
        raise ValueError("two of its fields have the same name")
    if len(msgspec.json.encode(cleaned)) > MAX_QUESTION_BYTES:
        raise ValueError(f"it is longer than {MAX_QUESTION_BYTES >> 10} KiB")
    return cleaned


def _clean_field(field: QuestionField) -> QuestionField:
    _check_identifier(field.name, MAX_FIELD_NAME_CHARACTERS)
    values = [option.value for option in field.options]
    if field.type is FieldType.CHOICE and not values and not field.custom:
        raise ValueError(f"the field {field.name} has no options")
    if len(values) > MAX_FIELD_OPTIONS:
        raise ValueError(f"the field {field.name} has more than {MAX_FIELD_OPTIONS} options")
    if len(set(values)) < len(values):
        raise ValueError(f"two options of the field {field.name} are the same")
    return msgspec.structs.replace(
        field,
        title=_clean_and_shorten(field.title, MAX_FIELD_TEXT_CHARACTERS) or field.name,
        description=_clean_and_shorten(field.description, MAX_FIELD_TEXT_CHARACTERS),
        options=tuple(_clean_option(option) for option in field.options),
    )


def _clean_option(option: Option) -> Option:
    _check_identifier(option.value, MAX_OPTION_VALUE_CHARACTERS)
    return Option(
        value=option.value,
        label=_clean_and_shorten(option.label, MAX_FIELD_TEXT_CHARACTERS) or option.value,
        description=_clean_and_shorten(option.description, MAX_FIELD_TEXT_CHARACTERS),
    )


def _check_identifier(text: str, max_characters: int) -> None:
    """Refuse the name of a field or the value of an option that is unsafe: the agent needs it unchanged."""
    if not text.strip() or len(text) > max_characters or _UNSAFE_IN_NAME.search(text):
        raise ValueError(f"{text[:20]!a} is empty, longer than {max_characters} characters, or has control characters")


def _clean_and_shorten(text: str, max_characters: int) -> str:
    cleaned = clean_text(text.encode("utf-8", "replace").decode()).strip()
    return cleaned if len(cleaned) <= max_characters else cleaned[: max_characters - 1] + "…"


# --- answers ------------------------------------------------------------------------------------


def check_answer(question: Question, content: Mapping[str, AnswerValue], *, prefix: str = "content.") -> AnswerContent:
    """Return the answers that the agent gets: without fields that were left out.

    Args:
        prefix: what an error says before the name of a field.

    Raises:
        InvalidRequest: an answer does not fit its field; the message names the field.
    """
    known = {field.name: field for field in question.fields}
    for name in content:
        if name not in known:
            raise InvalidRequest(f"{prefix}{name[:64]}: there is no such field; the fields are {', '.join(known)}.")
    checked = {
        name: _check_value(known[name], value, prefix) for name, value in content.items() if value not in ("", [])
    }
    for name, field in known.items():
        if field.required and name not in checked:
            raise InvalidRequest(f"{prefix}{name}: an answer is required: {describe_expected(field)}.")
    return checked


def _check_value(field: QuestionField, value: AnswerValue, prefix: str) -> AnswerValue:
    fits = False
    match field.type:
        case FieldType.BOOLEAN:
            fits = isinstance(value, bool)
        case FieldType.INTEGER:
            fits = isinstance(value, int) and _is_number(value)
        case FieldType.NUMBER:
            fits = _is_number(value)
        case FieldType.TEXT:
            fits = isinstance(value, str) and bool(value.strip())
        case FieldType.CHOICE if field.multiple:
            fits = isinstance(value, list) and all(_is_choice(field, one) for one in value)
            fits = fits and isinstance(value, list) and len(set(value)) == len(value) <= MAX_FIELD_OPTIONS
        case FieldType.CHOICE:
            fits = _is_choice(field, value)
    if not fits:
        raise InvalidRequest(f"{prefix}{field.name}: it must be {describe_expected(field)}.")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and len(text) > MAX_ANSWER_CHARACTERS:
            raise InvalidRequest(f"{prefix}{field.name}: it is longer than {MAX_ANSWER_CHARACTERS} characters.")
    return value


def _is_number(value: AnswerValue) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MAX_ANSWER_INTEGER if isinstance(value, int) else math.isfinite(value)


def _is_choice(field: QuestionField, value: AnswerValue) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    return field.custom or any(option.value == value for option in field.options)


def describe_expected(field: QuestionField) -> str:
    """Return what an answer to a field must be, in words that follow "it must be"."""
    if field.type is not FieldType.CHOICE:
        article = "an" if field.type is FieldType.INTEGER else "a"
        return f"{article} {field.type}"
    options = ", ".join(option.value for option in field.options[:20]) + (", …" if len(field.options) > 20 else "")
    if not options:
        return "a list of texts" if field.multiple else "a text"
    return f"{'a list of some' if field.multiple else 'one'} of {options}" + (", or another text" * field.custom)
