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
from gateway.errors import NotRunning, Unavailable

#: seconds between two looks for new entries
AUDIT_POLL_SECONDS = 1.0
#: entries that one look asks for
MAX_ENTRIES_PER_LOOK = 500


@click.command(cls=Command)
@click.option("--since", type=Moment(), metavar="TIME", help="Only entries since then: 2h (ago), or a date or time.")
@click.option("--who", metavar="NAME", help="Only what this token did, or this channel:chat.")
@click.option("--action", metavar="WORD", help="Only this action, such as token.created; token means all of its kind.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
@click.option("--follow", "-f", is_flag=True, help="Show new entries until Ctrl-C, also across restarts.")
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
    # First: what comes between the two requests is in the list, or follows it.
    newest = client.get("/api/audit", limit=1)["entries"] if follow else []
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
    _follow_entries(client, entries, newest[0]["id"] if newest else 0, about, show)


def _follow_entries(
    client: GatewayClient, entries: list[Any], newest: int, about: dict[str, Any], show: Callable[[Any], None]
) -> None:
    """Show entries and those that come, until Ctrl-C, also across restarts.

    Args:
        newest: number of the newest entry before these were read.
    """
    after, is_away = newest, False
    while True:
        for entry in entries:
            show(entry)
            after = max(after, entry["id"])
        if len(entries) < MAX_ENTRIES_PER_LOOK:
            time.sleep(AUDIT_POLL_SECONDS)
        try:
            entries = client.get("/api/audit", after=after, limit=MAX_ENTRIES_PER_LOOK, **about)["entries"]
        except (NotRunning, Unavailable) as error:
            if not is_away:
                output.print_note(f"{error} Waiting for it.")
            entries, is_away = [], True
        else:
            is_away = False


def _print_line(entry: dict[str, Any]) -> None:
    output.print_text("  ".join(text for text in _make_row(entry) if text))


def _make_row(entry: dict[str, Any]) -> tuple[str, ...]:
    who = entry["who"] or ("somebody" if entry["who_kind"] == "stranger" else "the gateway")
    if entry["who_kind"] == "browser":
        who += " (browser)"
    details = ", ".join(f"{name}: {text}" for name, text in entry["details"].items())
    action = entry["action"] + ("" if entry["outcome"] == "done" else f" ({entry['outcome']})")
    return (output.format_time(entry["at"]), who, entry["address"], action, entry["target"], details)
