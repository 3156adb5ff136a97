"""Questions of agents on the command line."""

from __future__ import annotations

import shlex

from cli.questions import suggest_words
from gateway.domain.question import Question, QuestionField


def test_a_suggested_command_runs_nothing_that_an_agent_has_chosen() -> None:
    names = ["a; touch here", "$(id)", "plain"]
    question = Question(message="Which?", fields=tuple(QuestionField(name=name) for name in names))

    assert shlex.split(suggest_words(question)) == [f"{name}=ANSWER" for name in names]
    assert suggest_words(question).endswith(" plain=ANSWER")
