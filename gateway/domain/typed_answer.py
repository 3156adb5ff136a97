"""Answers to questions that people type, in a terminal or a chat; and what they read before."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.question import AnswerContent, AnswerValue, FieldType, Question, QuestionField, check_answer
from gateway.errors import InvalidRequest

#: a line of a typed answer that leaves a field out
LEAVE_OUT = "-"
_BOOLEAN_WORDS = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}


def describe_field(field: QuestionField) -> str:
    """Return a field with its options, which have numbers."""
    lines = [f"{field.title}: {field.description}" if field.description else field.title]
    for number, option in enumerate(field.options, 1):
        more = f": {option.description}" if option.description else ""
        lines.append(f"  {number}. {option.label}{more}")
    return "\n".join(lines)


def describe_input(field: QuestionField) -> str:
    """Return what people may type for a field."""
    match field.type:
        case FieldType.BOOLEAN:
            said = "yes or no"
        case FieldType.CHOICE if field.options:
            said = "numbers or names, with commas between them" if field.multiple else "a number or a name"
            said += ", or another text" * field.custom
        case FieldType.NUMBER | FieldType.INTEGER:
            said = f"{'an' if field.type is FieldType.INTEGER else 'a'} {field.type}"
        case _:
            said = "a text"
    return said if field.required else f"{said}; {LEAVE_OUT} leaves it out"


def read_typed_answer(question: Question, text: str) -> AnswerContent:
    """Return the answers that a person typed: with several fields, one line for each, in their order.

    Raises:
        InvalidRequest: the text does not fit the question.
    """
    if len(question.fields) == 1:
        return check_answer(question, _read_lines(question.fields, [text.strip()]), prefix="")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != len(question.fields):
        names = ", ".join(field.name for field in question.fields)
        raise InvalidRequest(f"write one line for each of {names}, in this order; {LEAVE_OUT} leaves one out.")
    return check_answer(question, _read_lines(question.fields, lines), prefix="")


def _read_lines(fields: Sequence[QuestionField], lines: Sequence[str]) -> AnswerContent:
    return {
        field.name: read_typed_value(field, line)
        for field, line in zip(fields, lines, strict=True)
        if line and not (line == LEAVE_OUT and not field.required)
    }


def read_typed_value(field: QuestionField, text: str) -> AnswerValue:
    """Return the answer to a field that a person typed: an option by its value, its label or its number from 1.

    A text that cannot be read is returned as it is: `check_answer` refuses it.
    """
    match field.type:
        case FieldType.BOOLEAN:
            return _BOOLEAN_WORDS.get(text.casefold(), text)
        case FieldType.NUMBER | FieldType.INTEGER:
            return _read_number(text)
        case FieldType.CHOICE if field.multiple:
            whole = _find_option(field, text)
            return [whole] if whole else [_find_option(field, part.strip()) or part.strip() for part in text.split(",")]
        case FieldType.CHOICE:
            return _find_option(field, text) or text
    return text


def _read_number(text: str) -> AnswerValue:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _find_option(field: QuestionField, text: str) -> str | None:
    for option in field.options:
        if option.value == text:
            return text
    for option in field.options:
        if text.casefold() in (option.value.casefold(), option.label.casefold()):
            return option.value
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0
    return field.options[number - 1].value if 0 < number <= len(field.options) else None
