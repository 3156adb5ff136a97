"""Requests and questions of agents on the command line: shows what they ask, and reads what the user answers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cli import output
from gateway.domain.question import AnswerContent, Question, check_answer
from gateway.domain.typed_answer import describe_field, read_typed_answer, read_typed_value


def read_question(asked: Mapping[str, Any]) -> Question | None:
    """Return the question of a request or an event, as the API shows it; None if it asks for permission only."""
    given = asked.get("question")
    return None if given is None else msgspec.convert(given, Question)


def describe_action(asked: Mapping[str, Any]) -> str:
    """Return what an agent wants to be allowed, on one line."""
    return f"The agent asks to be allowed: {output.shorten_text(asked['action'], 500)}"


def describe_request(asked: Mapping[str, Any]) -> str:
    """Return what an agent asks, for permission or in a question."""
    question = read_question(asked)
    return describe_action(asked) if question is None else describe_question(question)


def suggest_command(run: str, asked: Mapping[str, Any]) -> str:
    """Return the command that answers a request of a run."""
    question = read_question(asked)
    choices = " | ".join(asked["choices"]) if question is None else f"{suggest_words(question)} | deny"
    return f"gateway tasks answer {run} {asked['id']} {choices}"


def describe_question(question: Question) -> str:
    """Return what an agent asks, with all fields and their options."""
    return "\n".join([f"The agent asks: {question.message}", *map(describe_field, question.fields)])


def suggest_words(question: Question) -> str:
    """Return what to put after the command that answers a question."""
    if len(question.fields) == 1:
        return "ANSWER"
    # Quoted for the shell: an agent chooses the names, and a user copies the command.
    return " ".join(f"{shlex.quote(field.name)}=ANSWER" for field in question.fields)


def read_words(question: Question, words: Sequence[str]) -> AnswerContent:
    """Return the answer that the words of a command line give: `name=value` for each field, or the values in order.

    Raises:
        InvalidRequest: they do not fit the question.
    """
    fields = {field.name: field for field in question.fields}
    pairs = [word.partition("=") for word in words]
    if all(equals and name in fields for name, equals, _ in pairs):
        content: AnswerContent = {}
        for name, _, text in pairs:
            value, earlier = read_typed_value(fields[name], text.strip()), content.get(name)
            if isinstance(value, list) and isinstance(earlier, list):
                value = earlier + value
            content[name] = value
        return check_answer(question, content, prefix="")
    return read_typed_answer(question, (" " if len(fields) == 1 else "\n").join(words))


def format_answer(asked: dict[str, Any]) -> str:
    """Return the answer to a request, with the content if it is a question's."""
    content = asked.get("content")
    if not content:
        return str(asked["answer"])
    values = [", ".join(value) if isinstance(value, list) else str(value) for value in content.values()]
    return output.shorten_text("; ".join(values))
