"""Questions of agents as forms of an editor."""

from __future__ import annotations

from typing import Any

import pytest

from cli.acp import forms
from gateway.domain.question import FieldType, Option, Question, QuestionField

_OPTIONS = (Option(value="r", label="Red"), Option(value="g"))
_SHOWN = [{"const": "r", "title": "Red"}, {"const": "g", "title": "g"}]


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (QuestionField(name="a"), {"type": "string", "title": "a"}),
        (
            QuestionField(name="a", title="Age", description="in years", type=FieldType.INTEGER),
            {"type": "integer", "title": "Age", "description": "in years"},
        ),
        (QuestionField(name="a", type=FieldType.NUMBER), {"type": "number", "title": "a"}),
        (QuestionField(name="a", type=FieldType.BOOLEAN), {"type": "boolean", "title": "a"}),
        (
            QuestionField(name="a", type=FieldType.CHOICE, options=_OPTIONS),
            {"type": "string", "title": "a", "oneOf": _SHOWN},
        ),
        (
            QuestionField(name="a", type=FieldType.CHOICE, options=_OPTIONS, multiple=True),
            {"type": "array", "title": "a", "items": {"anyOf": _SHOWN}},
        ),
        (
            QuestionField(name="a", type=FieldType.CHOICE, options=_OPTIONS, custom=True),
            {"type": "string", "title": "a", "description": "(r, g)"},
        ),
    ],
)
def test_each_field_has_its_property(field: QuestionField, shown: dict[str, Any]) -> None:
    schema = forms.make_form(Question(message="?", fields=(field,)))["requestedSchema"]

    assert schema == {"type": "object", "properties": {"a": shown}, "required": ["a"]}


def test_a_field_that_may_stay_empty_is_not_required() -> None:
    question = Question(message="?", fields=(QuestionField(name="a", required=False),))

    assert forms.make_form(question)["requestedSchema"]["required"] == []


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ({"action": "accept", "content": {"a": "x", "stranger": 1}}, {"answer": "answer", "content": {"a": "x"}}),
        ({"action": "accept", "content": {"a": ["r", "g"]}}, {"answer": "answer", "content": {"a": ["r", "g"]}}),
        ({"action": "accept"}, {"answer": "answer", "content": {}}),
        ({"action": "decline"}, {"answer": "deny"}),
        ({"action": "cancel"}, None),
        ({"action": "accept", "content": {"a": {"deep": 1}}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_answer_of_the_editor_answers_the_question(
    result: dict[str, Any] | None, body: dict[str, Any] | None
) -> None:
    assert forms.read_form(Question(message="?", fields=(QuestionField(name="a"),)), result) == body


@pytest.mark.parametrize(
    ("multiple", "typed", "answer"),
    [
        (False, "red", "r"),
        (False, "other", "other"),
        (True, "Red, other", ["r", "other"]),
        (True, ["r"], ["r"]),
    ],
)
def test_a_choice_that_the_form_shows_as_a_text_is_read_as_what_people_type(
    multiple: bool, typed: Any, answer: Any
) -> None:
    field = QuestionField(name="a", type=FieldType.CHOICE, options=_OPTIONS, multiple=multiple, custom=True)

    body = forms.read_form(Question(message="?", fields=(field,)), {"action": "accept", "content": {"a": typed}})

    assert body == {"answer": "answer", "content": {"a": answer}}
