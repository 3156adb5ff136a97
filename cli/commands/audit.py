"""`gateway audit`: prints who did what, and follows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from cli import output
from cli.arguments import Moment
from cli.command import Command, current_invocation
from cli.remote.client import GatewayClient, connect_to_gateway

#: seconds between two looks for new entries
AUDIT_POLL_SECONDS = 1.0
#: entries that one look asks for
MAX_ENTRIES_PER_LOOK = 500


@click.command(cls=Command)
@click.option("--since", type=Moment(), metavar="TIME", help="Only entries since then: 2h (ago), or a date or time.")
@click.option("--who", metavar="NAME", help="Only what this token did, or this channel:chat.")
@click.option("--action", metavar="WORD", help="Only this action, such as token.created; token means all of its kind.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
@click.option("--follow", "-f", is_flag=True, help="Show new entries until Ctrl-C.")
def COMMAND(  # noqa: N802 the seam's name
    since: datetime | None, who: str | None, action: str | None, limit: int, follow: bool
) -> None:
    """Show who did what: sign-ins, refused tokens, answers to agents, changes, starts and stops.

    The newest entries are shown, oldest first. It needs a token with the scope admin.

    \b
    Examples:
      gateway audit --since 2h
      gateway audit --who phone --action permission
      gateway audit --follow

    \b
    --json prints {"entries": [entry], "next_cursor": str or null}; with --follow, one entry a line.
    An entry is {"id", "at", "who_kind", "who", "address", "action", "target", "outcome",
      "details": {name: text}}
    """
    client = connect_to_gateway()
    about = {"who": who, "action": action, "since": None if since is None else since.isoformat()}
    page = client.get_pages("/api/audit", "entries", limit, **about)
    entries = page["entries"][::-1]
    if not follow:
        if current_invocation().json:
            output.print_json(page)
        else:
            rows = [_make_row(one) for one in entries]
            output.print_list(("at", "who", "from", "action", "target", "details"), rows, page["next_cursor"])
        return
    show = output.print_json_line if current_invocation().json else _print_line
    _follow_entries(client, entries, about, show)


def _follow_entries(
    client: GatewayClient, entries: list[Any], about: dict[str, Any], show: Callable[[Any], None]
) -> None:
    """Show entries and those that come, until Ctrl-C."""
    newest = client.get("/api/audit", limit=1)["entries"]
    after = entries[-1]["id"] if entries else (newest[0]["id"] if newest else 0)
    while True:
        for entry in entries:
            show(entry)
            after = entry["id"]
        if len(entries) < MAX_ENTRIES_PER_LOOK:
            time.sleep(AUDIT_POLL_SECONDS)
        entries = client.get("/api/audit", after=after, limit=MAX_ENTRIES_PER_LOOK, **about)["entries"]


def _print_line(entry: dict[str, Any]) -> None:
    output.print_text("  ".join(text for text in _make_row(entry) if text))


def _make_row(entry: dict[str, Any]) -> tuple[str, ...]:
    who = entry["who"] or ("somebody" if entry["who_kind"] == "stranger" else "the gateway")
    if entry["who_kind"] == "browser":
        who += " (browser)"
    details = ", ".join(f"{name}: {text}" for name, text in entry["details"].items())
    action = entry["action"] + ("" if entry["outcome"] == "done" else f" ({entry['outcome']})")
    return (output.format_time(entry["at"]), who, entry["address"], action, entry["target"], details)
