"""The questions of opencode's tool `question`, as people are asked them, and its form of their answers."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.backends.opencode import wire
from gateway.domain.question import AnswerContent, FieldType, Option, Question, QuestionField


def make_question(asked: Sequence[wire.QuestionInfo]) -> Question:
    """Return what people are asked: a field for each of opencode's questions, named by its number from 1."""
    texts = [one.question or one.header for one in asked]
    numbered = [f"{number}. {text}" for number, text in enumerate(texts, 1)]
    return Question(
        message="\n".join(numbered if len(texts) > 1 else texts),
        fields=tuple(_make_field(str(number), one) for number, one in enumerate(asked, 1)),
    )


def _make_field(name: str, asked: wire.QuestionInfo) -> QuestionField:
    return QuestionField(
        name=name,
        title=asked.header or asked.question,
        type=FieldType.CHOICE,
        options=tuple(Option(value=one.label, description=one.description) for one in asked.options),
        multiple=asked.multiple,
        required=not asked.multiple,  # none of several is an answer, too
        custom=asked.custom,
    )


def render_answers(asked: Sequence[wire.QuestionInfo], content: AnswerContent | None) -> list[list[str]]:
    """Return the labels that were chosen for each question.

    Where there are none, opencode tells the model that the question is unanswered, and the turn goes on. A rejected
    question would end the turn without a word.
    """
    answers: list[list[str]] = []
    for number in range(1, len(asked) + 1):
        value = (content or {}).get(str(number), [])
        answers.append([str(one) for one in value] if isinstance(value, list) else [str(value)])
    return answers
