"""Typed answers: options by value, label or number, numbers, lines for several fields."""

from __future__ import annotations

import pytest

from gateway.domain.question import AnswerValue, FieldType, Option, Question, QuestionField
from gateway.domain.typed_answer import describe_field, describe_input, read_typed_answer
from gateway.errors import InvalidRequest
from tests.domain.test_question import COLOURS, one_field, three_fields

TYPED: list[tuple[Question, str, AnswerValue]] = [
    (one_field(), " hello\nyou ", "hello\nyou"),
    (one_field(FieldType.NUMBER), "1.5", 1.5),
    (one_field(FieldType.INTEGER), "-7", -7),
    (one_field(FieldType.BOOLEAN), "Yes", True),
    (one_field(FieldType.BOOLEAN), "n", False),
    (one_field(FieldType.CHOICE), "g", "g"),
    (one_field(FieldType.CHOICE), "RED", "r"),
    (one_field(FieldType.CHOICE), "1", "r"),
    (one_field(FieldType.CHOICE), "2", "2"),  # a value comes before a number
    (one_field(FieldType.CHOICE, custom=True), "blue, or not", "blue, or not"),
    (one_field(FieldType.CHOICE, multiple=True), "1, green", ["r", "g"]),
    (one_field(FieldType.CHOICE, multiple=True, options=(Option(value="a, b"), Option(value="c"))), "a, b", ["a, b"]),
]


@pytest.mark.parametrize(("question", "text", "value"), TYPED)
def test_a_typed_answer_names_an_option_by_its_value_label_or_number(
    question: Question, text: str, value: AnswerValue
) -> None:
    assert read_typed_answer(question, text) == {"a": value}


@pytest.mark.parametrize("text", ["", "4", "red green"])
def test_a_typed_answer_that_is_no_option_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="one of r, g, 2"):
        read_typed_answer(one_field(FieldType.CHOICE), text)


@pytest.mark.parametrize("text", ["many", "1e999", "nan", "9" * 6000])
def test_a_typed_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="it must be a number"):
        read_typed_answer(one_field(FieldType.NUMBER), text)


def test_several_fields_are_typed_in_lines_and_a_dash_leaves_one_out() -> None:
    assert read_typed_answer(three_fields(), "red\n\n 3 \nas you like\n") == {
        "colour": "r",
        "count": 3,
        "note": "as you like",
    }
    assert read_typed_answer(three_fields(), "1\n3\n-") == {"colour": "r", "count": 3}
    with pytest.raises(InvalidRequest, match="one line for each of colour, count, note, in this order"):
        read_typed_answer(three_fields(), "red\n3")


def test_a_field_is_described_with_its_options_and_what_can_be_typed() -> None:
    [field] = one_field(FieldType.CHOICE, title="Colour", description="of the door", multiple=True, custom=True).fields

    assert describe_field(field) == "Colour: of the door\n  1. Red\n  2. Green\n  3. Two"
    assert describe_input(field) == "numbers or names, with commas between them, or another text"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (QuestionField(name="a"), "a text"),
        (QuestionField(name="a", required=False), "a text; - leaves it out"),
        (QuestionField(name="a", type=FieldType.BOOLEAN), "yes or no"),
        (QuestionField(name="a", type=FieldType.INTEGER), "an integer"),
        (QuestionField(name="a", type=FieldType.NUMBER), "a number"),
        (QuestionField(name="a", type=FieldType.CHOICE, options=COLOURS), "a number or a name"),
        (QuestionField(name="a", type=FieldType.CHOICE, custom=True), "a text"),
    ],
)
def test_people_are_told_what_they_may_type(field: QuestionField, said: str) -> None:
    assert describe_input(field) == said
