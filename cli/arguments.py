"""Options and arguments that several commands share: the text to send, labels, and a daily budget."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click


def read_text(argument: str | None) -> str:
    """Return the text to send: the argument, or standard input if there is no argument or it is `-`.

    Raises:
        UsageError: there is no text.
    """
    if argument is None and sys.stdin.isatty():
        raise click.UsageError("nothing to send: give a text, or pipe one in.", click.get_current_context())
    if argument in (None, "-"):
        argument = sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\n")
    if not argument:
        raise click.UsageError("the text to send is empty.", click.get_current_context())
    return argument


def parse_labels(words: tuple[str, ...]) -> dict[str, str]:
    """Return the labels in a list of `name=value` words.

    Raises:
        UsageError: a word has no `=`.
    """
    for word in words:
        if "=" not in word:
            raise click.UsageError(f'--label: "{word}" is not of the form name=value.', click.get_current_context())
    return {name: value for name, _, value in (word.partition("=") for word in words)}


# --- the daily budget of an agent or a schedule ---------------------------------------------------


def add_budget_options(command: Any) -> Any:
    """Add the options that set or remove a daily budget."""
    for option in (
        click.option("--budget-runs", type=click.IntRange(1), metavar="N", help="At most this many runs a day."),
        click.option("--budget-tokens", type=click.IntRange(1), metavar="N", help="At most this many tokens a day."),
        click.option(
            "--budget-cost",
            type=click.FloatRange(0, min_open=True),
            metavar="USD",
            help="At most this many US dollars a day.",
        ),
        click.option("--no-budget", is_flag=True, help="Remove the daily limits."),
    ):
        command = option(command)
    return command


def pop_budget(given: dict[str, Any]) -> dict[str, Any]:
    """Take the budget options out of all given options; return the request field that they make, if any.

    A budget is set as a whole: a limit that is not given is removed.

    Raises:
        UsageError: limits and `--no-budget` are both given.
    """
    limits = {name: given.pop(f"budget_{name}") for name in ("runs", "tokens", "cost")}
    limits = {name: value for name, value in limits.items() if value is not None}
    removed = given.pop("no_budget")
    if removed and limits:
        raise click.UsageError("Give limits or --no-budget, not both.")
    return {"budget": limits} if limits or removed else {}


def describe_budget(budget: Mapping[str, Any] | None) -> str:
    """Return a budget as people read it, such as `20 runs, $5.00 a day`."""
    limits = budget or {}
    numbers = [(limits.get(name), name) for name in ("runs", "tokens")]
    parts = [f"{n:,} {name.removesuffix('s') if n == 1 else name}" for n, name in numbers if n is not None]
    parts += [f"${limits['cost']:,.2f}"] if limits.get("cost") is not None else []
    return f"{', '.join(parts)} a day" if parts else "none"
