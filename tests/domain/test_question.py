"""Questions: what can be asked, and which answers fit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.domain import question as questions
from gateway.domain.question import (
    AnswerValue,
    FieldType,
    Option,
    Question,
    QuestionField,
    check_answer,
    clean_question,
)
from gateway.errors import InvalidRequest

COLOURS = (Option(value="r", label="Red"), Option(value="g", label="Green"), Option(value="2", label="Two"))


def one_field(kind: FieldType = FieldType.TEXT, **about: Any) -> Question:
    options = COLOURS if kind is FieldType.CHOICE else ()
    return Question(message="Which?", fields=(QuestionField(name="a", type=kind, **{"options": options, **about}),))


def three_fields() -> Question:
    return Question(
        message="Three things",
        fields=(
            QuestionField(name="colour", type=FieldType.CHOICE, options=COLOURS),
            QuestionField(name="count", type=FieldType.INTEGER),
            QuestionField(name="note", required=False),
        ),
    )


FITTING: list[tuple[Question, AnswerValue]] = [
    (one_field(), "text\nof two lines"),
    (one_field(FieldType.NUMBER), 1.5),
    (one_field(FieldType.NUMBER), -3),
    (one_field(FieldType.INTEGER), 0),
    (one_field(FieldType.BOOLEAN), False),
    (one_field(FieldType.CHOICE), "g"),
    (one_field(FieldType.CHOICE, custom=True), "blue"),
    (one_field(FieldType.CHOICE, multiple=True), ["r", "g"]),
]


@pytest.mark.parametrize(("question", "value"), FITTING)
def test_a_fitting_answer_is_passed_on_unchanged(question: Question, value: AnswerValue) -> None:
    assert check_answer(question, {"a": value}) == {"a": value}


UNFIT: list[tuple[Question, Any, str]] = [
    (one_field(), 1, "content.a: it must be a text."),
    (one_field(), "  ", "content.a: it must be a text."),
    (one_field(), "", "content.a: an answer is required: a text."),
    (one_field(), "x" * 10_001, "content.a: it is longer than 10000 characters."),
    (one_field(FieldType.NUMBER), "1", "content.a: it must be a number."),
    (one_field(FieldType.NUMBER), True, "content.a: it must be a number."),
    (one_field(FieldType.NUMBER), float("inf"), "content.a: it must be a number."),
    (one_field(FieldType.INTEGER), 1.5, "content.a: it must be an integer."),
    (one_field(FieldType.INTEGER), 1 << 60, "content.a: it must be an integer."),
    (one_field(FieldType.BOOLEAN), "yes", "content.a: it must be a boolean."),
    (one_field(FieldType.CHOICE), "Red", "content.a: it must be one of r, g, 2."),
    (one_field(FieldType.CHOICE), ["r"], "content.a: it must be one of r, g, 2."),
    (one_field(FieldType.CHOICE, multiple=True), ["r", "b"], "content.a: it must be a list of some of r, g, 2."),
    (one_field(FieldType.CHOICE, multiple=True), ["r", "r"], "content.a: it must be a list of some of r, g, 2."),
    (one_field(FieldType.CHOICE, multiple=True), [], "content.a: an answer is required"),
    (one_field(FieldType.CHOICE, custom=True), 5, "content.a: it must be one of r, g, 2, or another text."),
]


@pytest.mark.parametrize(("question", "value", "told"), UNFIT)
def test_an_answer_that_does_not_fit_is_refused_with_the_name_of_its_field(
    question: Question, value: Any, told: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_answer(question, {"a": value})

    assert told in caught.value.message


def test_an_answer_has_all_required_fields_and_no_others() -> None:
    question = three_fields()

    assert check_answer(question, {"colour": "r", "count": 2, "note": ""}) == {"colour": "r", "count": 2}
    with pytest.raises(InvalidRequest, match=r"content\.count: an answer is required: an integer"):
        check_answer(question, {"colour": "r"})
    with pytest.raises(
        InvalidRequest, match=r"content\.size: there is no such field; the fields are colour, count, note"
    ):
        check_answer(question, {"colour": "r", "count": 2, "size": 1})


def test_the_texts_of_a_question_are_shortened_and_cannot_control_a_terminal() -> None:
    option = Option(value="v", label="\x1b]0;title\x07ok")
    field = QuestionField(name="a", title="\x1b[31mred\x1b[0m", type=FieldType.CHOICE, options=(option,))
    cleaned = clean_question(Question(message="\ud800" + "x" * 10_000, fields=(field,)))

    assert cleaned.message == "?" + "x" * 3998 + "…"
    assert cleaned.fields[0].title == "red"
    assert cleaned.fields[0].options[0].label == "ok"


def test_a_field_or_an_option_without_a_text_is_shown_by_its_name() -> None:
    field = QuestionField(name="colour", type=FieldType.CHOICE, options=(Option(value="red"),))
    [shown] = clean_question(Question(message="Which?", fields=(field,))).fields

    assert (shown.title, shown.options[0].label) == ("colour", "red")


def _choice(*values: str, custom: bool = False) -> Question:
    return one_field(FieldType.CHOICE, options=tuple(Option(value=value) for value in values), custom=custom)


IMPOSSIBLE: list[tuple[Question, str]] = [
    (Question(message="?", fields=()), "it has 0 fields"),
    (Question(message="?", fields=tuple(QuestionField(name=str(n)) for n in range(17))), "it has 17 fields"),
    (Question(message="?", fields=(QuestionField(name="a"), QuestionField(name="a"))), "the same name"),
    (Question(message="?", fields=(QuestionField(name="a\x1b"),)), "control characters"),
    (Question(message="?", fields=(QuestionField(name="\ud800"),)), "control characters"),
    (Question(message="?", fields=(QuestionField(name=" "),)), "is empty"),
    (_choice(), "has no options"),
    (_choice("a", "a"), "two options of the field a are the same"),
    (_choice("x" * 301), "longer than 300 characters"),
    (_choice(*(str(n) for n in range(101))), "more than 100 options"),
]


@pytest.mark.parametrize(("question", "why"), IMPOSSIBLE)
def test_what_people_cannot_be_asked_is_refused(question: Question, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        clean_question(question)


def test_a_question_is_bounded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    question = three_fields()
    size = len(msgspec.json.encode(clean_question(question)))
    monkeypatch.setattr(questions, "MAX_QUESTION_BYTES", size)
    clean_question(question)
    monkeypatch.setattr(questions, "MAX_QUESTION_BYTES", size - 1)

    with pytest.raises(ValueError, match="it is longer than"):
        clean_question(question)


def test_a_choice_without_options_that_takes_other_texts_takes_any() -> None:
    question = clean_question(_choice(custom=True))

    assert check_answer(question, {"a": "anything"}) == {"a": "anything"}
    with pytest.raises(InvalidRequest, match="it must be a text"):
        check_answer(question, {"a": 1})
