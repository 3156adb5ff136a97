"""`gateway alerts`: what is open, what was told, and whether alerts arrive."""

from __future__ import annotations

from typing import Any

import click

from cli import output
from cli.command import Group, current_invocation
from cli.remote.client import connect_to_gateway

#: exit code when a test did not arrive
_TEST_FAILED = 1


class AlertGroup(Group):
    """Without a subcommand it lists: `gateway alerts --json` is `gateway alerts list --json`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=AlertGroup)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """List the alerts that are open and the last messages about them, and test the receivers.

    \b
    Examples:
      gateway alerts
      gateway alerts test
    """


@COMMAND.command("list")
@click.option("--limit", type=click.IntRange(1, 500), default=10, show_default=True, help="Most messages to list.")
def list_alerts(limit: int) -> None:
    """List the alerts that are open, and the last messages about alerts. `gateway alerts` does the same.

    \b
    Examples:
      gateway alerts
      gateway alerts list --limit 50

    \b
    --json prints
      {"receivers": [str], "open": [{"kind", "subject", "text", "agent", "opened_at", "told_at"}],
       "messages": [{"id", "receiver", "status": "collecting" | "pending" | "delivered" | "dead",
         "alerts": [{"kind", "event", "subject", "text"}], "left_out", "attempt", "error",
         "created_at", "next_at", "finished_at"}]}
    """
    found = connect_to_gateway().get("/api/alerts", limit=limit)
    if current_invocation().json:
        output.print_json(found)
        return
    if not found["receivers"]:
        output.print_note("Nobody is told: no receiver is configured under alerts.receivers. See docs/alerts.md.")
    if found["open"]:
        rows = [
            (one["kind"], output.shorten_text(one["text"], 80), output.format_time(one["opened_at"]))
            for one in found["open"]
        ]
        output.print_table(("open", "what", "since"), rows)
    elif found["receivers"]:
        output.print_text("Nothing is wrong that the receivers want to know.")
    if found["messages"]:
        output.print_text("")
        output.print_table(
            ("told", "receiver", "status", "what", "error"), [_list_message(one) for one in found["messages"]]
        )


def _list_message(message: dict[str, Any]) -> tuple[str, ...]:
    texts = [str(alert["text"]) for alert in message["alerts"]]
    more = len(texts) - 1 + int(message["left_out"])
    first = output.shorten_text(texts[0] if texts else "-", 60)
    return (
        output.format_time(message["finished_at"] or message["next_at"]),
        str(message["receiver"]),
        str(message["status"]),
        f"{first} (and {more:,} more)" if more > 0 else first,
        output.shorten_text(message["error"] or "-", 50),
    )


@COMMAND.command("test")
@click.argument("receiver", required=False)
def test_receivers(receiver: str | None) -> None:
    """Send a test alert to a receiver, or to all, and say whether it arrived.

    \b
    Examples:
      gateway alerts test
      gateway alerts test me

    \b
    --json prints {"results": [{"receiver", "ok", "error"}]}
    """
    found = connect_to_gateway().post("/api/alerts/test", {"receiver": receiver} if receiver else {})
    if current_invocation().json:
        output.print_json(found)
    else:
        for one in found["results"]:
            said = "took the test." if one["ok"] else f"did not take it: {one['error']}"
            output.print_text(output.add_mark("✅" if one["ok"] else "❌", f"{one['receiver']} {said}"))
    if not all(one["ok"] for one in found["results"]):
        raise SystemExit(_TEST_FAILED)
