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


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("30s", "s", 30),
        ("5m", "s", 300),
        ("2h", "s", 7200),
        ("1h30m", "s", 5400),
        ("1.5d", "s", 129_600),
        ("500ms", "s", 0.5),
        ("45", "s", 45),
        ("2.5", "s", 2.5),
        ("5000", "ms", 5000),
        ("5s", "ms", 5000),
        ("12h", "d", 0.5),
        ("90", "d", 90),
    ],
)
def test_a_duration_has_a_unit_or_counts_in_the_documented_one(text: str, unit: str, value: float) -> None:
    assert arguments.Duration(unit).convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "x", "5 m", "5x", "m", "-5", "1e3", "inf", "nan", "5m3", "\u0665s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write it as 30s, 5m or 2h"):
        arguments.Duration().convert(text, None, None)


def test_a_duration_out_of_range_is_refused_with_the_range() -> None:
    with pytest.raises(click.BadParameter, match="at least 0 and at most 3600 seconds"):
        arguments.Duration(most=3600).convert("2h", None, None)
    with pytest.raises(click.BadParameter, match="more than 0 seconds"):
        arguments.Duration(above=0).convert("0s", None, None)
