"""The options that set a budget."""

from __future__ import annotations

from collections.abc import Mapping
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


def told(budget: Mapping[str, Any] | None) -> str:
    """Return a budget in words."""
    limits = budget or {}
    numbers = [(limits.get(name), name) for name in ("runs", "tokens")]
    parts = [f"{n:,} {name.removesuffix('s') if n == 1 else name}" for n, name in numbers if n is not None]
    parts += [f"${limits['cost']:,.2f}"] if limits.get("cost") is not None else []
    return f"{', '.join(parts)} a day" if parts else "none"


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
