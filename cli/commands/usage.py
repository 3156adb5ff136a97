"""`gateway usage`: shows used tokens and cost, and what is left of budgets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from cli import output
from cli.arguments import Moment
from cli.command import Command, current_invocation
from cli.remote.client import connect_to_gateway
from cli.remote.lookup import read_schedule_names


@click.command(cls=Command)
@click.option(
    "--by",
    type=click.Choice(["day", "agent", "schedule"]),
    default="day",
    show_default=True,
    help="How to group the usage.",
)
@click.option(
    "--since", type=Moment(), metavar="DAY", help="First day: 2026-11-21, or 7d (ago).  [default: 30 days ago]"
)
@click.option("--until", type=Moment(), metavar="DAY", help="Last day.  [default: today]")
@click.option("--agent", metavar="ID", help="Only the usage of this agent.")
def COMMAND(by: str, since: datetime | None, until: datetime | None, agent: str | None) -> None:  # noqa: N802 the seam's name
    """Show usage by day, agent or schedule, and what is left of today's budgets.

    \b
    Examples:
      gateway usage
      gateway usage --by agent --since 2026-11-01

    \b
    --json prints
      {"by", "timezone", "since", "until", "resets_at": RFC 3339,
       "usage": [{"name": day or id, "slug", "runs", "input", "output", "cached", "cost", "unpriced"}],
       "budgets": [{"of": "agent" | "schedule", "id", "name", "limits": amount, "used": amount,
                    "left": amount, "over": bool}]}
    An amount is {"runs", "tokens", "cost"}; a value without a limit is null.
    """
    client = connect_to_gateway()
    found = client.get("/api/usage", by=by, since=_format_day(since), until=_format_day(until), agent=agent)
    if current_invocation().json:
        output.print_json(found)
        return
    headers = (by, "runs", "tokens in", "out", "cached", "cost")
    names = read_schedule_names(client) if by == "schedule" else {}
    output.print_list(headers, [_usage_row(one, names) for one in found["usage"]])
    if found["budgets"]:
        output.print_text("")
        output.print_table(
            ("budget of", "runs left", "tokens left", "cost left", ""), [_budget_row(one) for one in found["budgets"]]
        )
        output.print_note(f"Budgets start again at {output.format_time(found['resets_at'])}.")


def _format_day(given: datetime | None) -> str | None:
    return None if given is None else given.astimezone().date().isoformat()


def _usage_row(one: Mapping[str, Any], names: Mapping[str, str]) -> tuple[object, ...]:
    cost = output.format_cost(one["cost"])
    if one["unpriced"]:  # of so many tasks
        cost = f"{cost} and {one['unpriced']} unknown" if one["cost"] else f"{one['unpriced']} unknown"
    counts = (f"{one[name]:,}" for name in ("runs", "input", "output", "cached"))
    return (one["slug"] or names.get(one["name"]) or one["name"], *counts, cost)


def _budget_row(one: Mapping[str, Any]) -> tuple[object, ...]:
    called = f"{one['of']} {one['name'] or one['id']}"
    amounts = (_format_left(name, one["left"][name], one["limits"][name]) for name in ("runs", "tokens", "cost"))
    return (called, *amounts, "used up" if one["over"] else "")


def _format_left(name: str, left: float | None, limit: float | None) -> str:
    if left is None or limit is None:
        return "-"
    return f"{output.format_cost(left)} of {output.format_cost(limit)}" if name == "cost" else f"{left:,} of {limit:,}"
