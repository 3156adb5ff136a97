"""Options that several commands share."""

from __future__ import annotations

import io
import sys

import click
import pytest

from cli import arguments


def test_a_label_without_an_equals_sign_is_refused() -> None:
    assert arguments.parse_labels(("a=1", "b=x=y")) == {"a": "1", "b": "x=y"}
    with click.Context(click.Command("add")), pytest.raises(click.UsageError, match='"c" is not of the form'):
        arguments.parse_labels(("a=1", "c"))


def test_a_dash_reads_the_text_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"two\nlines\n\n")))

    assert arguments.read_text("-") == "two\nlines"


def test_an_empty_text_is_refused() -> None:
    with click.Context(click.Command("add")), pytest.raises(click.UsageError, match="the text to send is empty"):
        arguments.read_text("")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (None, "none"),
        ({"runs": None, "tokens": None, "cost": None}, "none"),
        ({"runs": 1}, "1 run a day"),
        ({"runs": 20, "tokens": 50_000, "cost": 5.0}, "20 runs, 50,000 tokens, $5.00 a day"),
    ],
)
def test_a_budget_is_described_in_words(budget: dict[str, float] | None, words: str) -> None:
    assert arguments.describe_budget(budget) == words


def test_limits_and_no_budget_together_are_refused() -> None:
    options = {"budget_runs": 3, "budget_tokens": None, "budget_cost": None}

    assert arguments.pop_budget({**options, "no_budget": False, "name": "x"}) == {"budget": {"runs": 3}}
    assert arguments.pop_budget({**dict.fromkeys(options), "no_budget": True}) == {"budget": {}}
    assert arguments.pop_budget({**dict.fromkeys(options), "no_budget": False}) == {}
    with pytest.raises(click.UsageError, match="not both"):
        arguments.pop_budget({**options, "no_budget": True})
