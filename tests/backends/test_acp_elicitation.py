"""The forms of ACP agents as questions, and the answers as the content that an agent wants."""

from __future__ import annotations

from typing import Any

import pytest
from acp.schema import ElicitationSchema

from gateway.backends.acp.elicitation import make_question, render_content
from gateway.domain.question import AnswerContent, FieldType, Option, Question, clean_question


def question(properties: dict[str, Any], *required: str) -> Question:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return make_question("Which?", ElicitationSchema.model_validate(schema))


TITLED = [{"const": "r", "title": "Red", "description": "warm"}, {"const": "b", "title": "Blue"}]
OPTIONS = (Option(value="r", label="Red", description="warm"), Option(value="b", label="Blue"))
PLAIN = (Option(value="r"), Option(value="b"))


@pytest.mark.parametrize(
    ("about", "kind", "options", "multiple"),
    [
        ({"type": "string"}, FieldType.TEXT, (), False),
        ({"type": "string", "enum": ["r", "b"]}, FieldType.CHOICE, PLAIN, False),
        ({"type": "string", "oneOf": TITLED}, FieldType.CHOICE, OPTIONS, False),
        ({"type": "array", "items": {"type": "string", "enum": ["r", "b"]}}, FieldType.CHOICE, PLAIN, True),
        ({"type": "array", "items": {"anyOf": TITLED}}, FieldType.CHOICE, OPTIONS, True),
        ({"type": "boolean"}, FieldType.BOOLEAN, (), False),
        ({"type": "integer"}, FieldType.INTEGER, (), False),
        ({"type": "number"}, FieldType.NUMBER, (), False),
    ],
)
def test_each_type_of_the_protocol_has_its_field(
    about: dict[str, Any], kind: FieldType, options: tuple[Option, ...], multiple: bool
) -> None:
    [field] = question({"a": about | {"title": "A", "description": "of all"}}, "a").fields

    assert (field.type, field.options, field.multiple, field.required) == (kind, options, multiple, True)
    assert (field.title, field.description) == ("A", "of all")


def test_the_limits_of_a_field_are_told() -> None:
    numbers, text = question(
        {
            "n": {"type": "integer", "description": "a size", "minimum": 1, "maximum": 5},
            "t": {"type": "string", "maxLength": 9, "format": "email"},
        }
    ).fields

    assert numbers.description == "a size; at least 1, at most 5"
    assert text.description == "at most 9 characters, a email"


def test_a_field_of_an_unknown_type_is_left_out_unless_it_is_required() -> None:
    known, odd = {"type": "string"}, {"type": "_picture"}

    assert [field.name for field in question({"a": known, "b": odd}).fields] == ["a"]
    with pytest.raises(ValueError, match="the field b has no options"):
        clean_question(question({"a": known, "b": odd}, "b"))


@pytest.mark.parametrize(("answer", "content"), [({"go_on": True}, {}), ({"go_on": False}, None), (None, None)])
def test_a_form_without_fields_asks_whether_to_go_on(
    answer: AnswerContent | None, content: dict[str, Any] | None
) -> None:
    asked = question({})

    assert [(field.name, field.type) for field in asked.fields] == [("go_on", FieldType.BOOLEAN)]
    assert render_content(asked, answer) == content


#: as Claude Code writes the questions of its tool AskUserQuestion
CLAUDE = {
    "question_0": {"type": "string", "title": "Colour", "oneOf": TITLED},
    "question_0_custom": {"type": "string", "title": "Other"},
    "question_1": {"type": "array", "title": "Sizes", "items": {"anyOf": TITLED}},
    "question_1_custom": {"type": "string", "title": "Other"},
}


def test_a_text_field_beside_a_choice_makes_it_a_choice_that_takes_other_texts() -> None:
    fields = question(CLAUDE).fields

    assert [(field.name, field.custom, field.required) for field in fields] == [
        ("question_0", True, False),
        ("question_1", True, False),
    ]


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        ({"question_0": "r"}, {"question_0": "r"}),
        ({"question_0": "green"}, {"question_0_custom": "green"}),
        ({"question_1": ["r", "large", "b", "small"]}, {"question_1": ["r", "b"], "question_1_custom": "large, small"}),
        ({}, {}),
    ],
)
def test_another_text_goes_into_the_field_beside_the_choice(answer: AnswerContent, content: dict[str, Any]) -> None:
    assert render_content(question(CLAUDE), answer) == content


def test_a_required_text_and_a_text_beside_no_choice_are_fields_of_their_own() -> None:
    text = {"type": "string"}

    assert [one.name for one in question({"a": text, "a_custom": text}).fields] == ["a", "a_custom"]
    choice = {"type": "string", "enum": ["r"]}
    assert [one.name for one in question({"a": choice, "a_custom": text}, "a_custom").fields] == ["a", "a_custom"]
