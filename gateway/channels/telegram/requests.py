"""The permission requests and questions of agents in a chat: their text, their buttons, and what a press means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.channels.telegram.botapi import Button
from gateway.domain.event import Permission
from gateway.domain.permission import Answer, GivenAnswer, PermissionRequest
from gateway.domain.question import AnswerValue, FieldType, Question
from gateway.domain.typed_answer import LEAVE_OUT, describe_field

#: options of a question that get buttons, at most; with more, people write the answer
MAX_OPTION_BUTTONS = 20
#: characters of an option's button
MAX_OPTION_BUTTON_CHARACTERS = 60
#: characters of a question's message in a chat: below it, there must be room for the options
MAX_SHOWN_QUESTION_CHARACTERS = 2000

_BUTTON_LABELS = {Answer.ALLOW: "Allow", Answer.ALLOW_ALWAYS: "Always", Answer.DENY: "Deny"}


class Press(NamedTuple):
    """A button that somebody has pressed."""

    #: ids of the run and of its request
    run: str
    request: str
    #: an answer, or the number of an option from 1
    word: str


def compose_request(asked: Permission) -> str:
    """Return the text that shows an open request."""
    if asked.question is not None:
        return _compose_question(asked.question)
    always = "/always, " if Answer.ALLOW_ALWAYS in asked.choices else ""
    return f"The agent asks to be allowed: {asked.action}\n/allow, {always}or /deny"


def _compose_question(question: Question) -> str:
    choices = _list_button_choices(question)
    if not choices:
        how = "Reply to this message"
    elif question.fields[0].custom:
        how = "Press a button, or reply to this message with another text"
    else:
        how = "Press a button, or reply to this message"
    if len(question.fields) > 1:
        how += f" with one line for each of these, in this order ({LEAVE_OUT} leaves one out)"
    fields = "\n\n".join(describe_field(field) for field in question.fields)
    shown = question.message[:MAX_SHOWN_QUESTION_CHARACTERS]
    return f"The agent asks: {shown}\n{how}; or /deny\n\n{fields}"


def describe_answer(told: Permission) -> str:
    """Return a line about the answer to a request."""
    if told.answer == Answer.DENY:
        return f"(Denied: {told.action})"
    return f"({'Allowed' if told.content is None else 'Answered'}: {told.action})"


# --- buttons ------------------------------------------------------------------------------------


def make_buttons(run: str, asked: Permission) -> list[list[Button]]:
    """Return the rows of buttons below an open request; the data of each has the request that it answers."""
    options = _list_button_choices(asked.question) if asked.question is not None else []
    rows = [
        [Button(label[:MAX_OPTION_BUTTON_CHARACTERS], f"{asked.id} {run} {number}")]
        for number, (label, _) in enumerate(options, 1)
    ]
    answers = [
        Button(label, f"{asked.id} {run} {word}") for word, label in _BUTTON_LABELS.items() if word in asked.choices
    ]
    return [*rows, answers]


def parse_button(data: str) -> Press | None:
    """Return what a button means; None if it is not one of ours."""
    request, _, rest = data.partition(" ")
    run, _, word = rest.partition(" ")
    return Press(run, request, word) if run and (word in _BUTTON_LABELS or _parse_number(word)) else None


def read_press(word: str, asked: PermissionRequest | None) -> GivenAnswer | None:
    """Return the answer of a pressed button; None if there is no such option.

    Args:
        asked: the question whose option the word names; None if it names an answer.
    """
    if word in _BUTTON_LABELS:
        return GivenAnswer(Answer(word))
    choices = _list_button_choices(asked.question) if asked is not None and asked.question is not None else []
    number = _parse_number(word)
    if asked is None or asked.question is None or not 0 < number <= len(choices):
        return None
    return GivenAnswer(Answer.ANSWER, {asked.question.fields[0].name: choices[number - 1][1]})


def _parse_number(word: str) -> int:
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 4 else 0


def _list_button_choices(question: Question) -> Sequence[tuple[str, AnswerValue]]:
    """Return the labels and values of answers that one press can give; none if people have to write."""
    if len(question.fields) > 1:
        return []
    [field] = question.fields
    if field.type is FieldType.BOOLEAN:
        return [("Yes", True), ("No", False)]
    if field.type is not FieldType.CHOICE or field.multiple or len(field.options) > MAX_OPTION_BUTTONS:
        return []
    return [(option.label, option.value) for option in field.options]
