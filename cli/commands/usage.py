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
       "usage": [{"name": day or id, "slug", "runs", "input", "output", "cached", "cost", "unpriced", "uncounted"}],
       "budgets": [{"of": "agent" | "schedule", "id", "name", "limits": amount, "used": amount,
                    "left": amount, "unknown": ["tokens" | "cost"], "over": bool}]}
    "unpriced" and "uncounted" are the runs whose cost and whose tokens are not known.
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
    cost = _add_unknown(output.format_cost(one["cost"]), one["cost"], one["unpriced"])
    uncounted = one.get("uncounted", 0)  # an older gateway does not count them
    used = one["input"] + one["output"]
    tokens = (f"{one[name]:,}" if used or not uncounted else "-" for name in ("output", "cached"))
    read = _add_unknown(f"{one['input']:,}", used, uncounted)
    return (one["slug"] or names.get(one["name"]) or one["name"], f"{one['runs']:,}", read, *tokens, cost)


def _add_unknown(known: str, amount: float, unknown: int) -> str:
    """Return an amount with the number of tasks whose own amount is not known."""
    if not unknown:
        return known
    return f"{known} and {unknown} unknown" if amount else f"{unknown} unknown"


def _budget_row(one: Mapping[str, Any]) -> tuple[object, ...]:
    called = f"{one['of']} {one['name'] or one['id']}"
    unknown = one.get("unknown", [])  # an older gateway does not say it
    amounts = (
        _format_left(name, one["left"][name], one["limits"][name], unknown=name in unknown)
        for name in ("runs", "tokens", "cost")
    )
    return (called, *amounts, "used up" if one["over"] else "")


def _format_left(name: str, left: float | None, limit: float | None, *, unknown: bool) -> str:
    if left is None or limit is None:
        return "-"
    whole, rest = (
        (output.format_cost(limit), output.format_cost(left)) if name == "cost" else (f"{limit:,}", f"{left:,}")
    )
    return f"{'unknown' if unknown else rest} of {whole}"
