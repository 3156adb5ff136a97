"""The options that set a budget."""

from __future__ import annotations

from typing import Any

import click


def options(command: Any) -> Any:
    """Add what sets a budget, and what lifts it."""
    for option in (
        click.option("--budget-runs", type=click.IntRange(1), metavar="N", help="Runs a day, at the most."),
        click.option("--budget-tokens", type=click.IntRange(1), metavar="N", help="Tokens a day, at the most."),
        click.option(
            "--budget-cost",
            type=click.FloatRange(0, min_open=True),
            metavar="USD",
            help="US dollars a day, at the most.",
        ),
        click.option("--no-budget", is_flag=True, help="No limits a day."),
    ):
        command = option(command)
    return command


def taken(given: dict[str, Any]) -> dict[str, Any]:
    """Take those options out of all that was given; returns the field that they make, if any.

    Whoever sets one limit sets the whole budget.
    """
    limits = {name: given.pop(f"budget_{name}") for name in ("runs", "tokens", "cost")}
    limits = {name: value for name, value in limits.items() if value is not None}
    lifted = given.pop("no_budget")
    if lifted and limits:
        raise click.UsageError("Give limits or --no-budget, not both.")
    return {"budget": limits} if limits or lifted else {}
