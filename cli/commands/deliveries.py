"""`gateway deliveries`: lists the results sent to webhooks and chats, and sends failed ones again."""

from __future__ import annotations

from typing import Any

import click

from cli import output
from cli.arguments import add_id_argument
from cli.command import Group, current_invocation
from cli.remote.client import connect_to_gateway, quote_part
from cli.remote.lookup import connect_for

DELIVERY_STATUSES = ("pending", "sending", "delivered", "dead")


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """List the results of tasks that are sent to webhooks and chats, and send failed ones again.

    For the ID of a delivery, any part that no other delivery's ID has is enough. --last is the newest
    one.

    \b
    Examples:
      gateway deliveries list --status dead
      gateway deliveries retry 73F9KQ

    \b
    With --json, a delivery is
      {"id", "status", "task", "kind", "address", "format", "attempt", "next_at", "error",
       "created_at", "finished_at"}
    """


@COMMAND.command("list")
@click.option(
    "--status", type=click.Choice(DELIVERY_STATUSES), help="Only deliveries with this status; `dead` means given up."
)
@click.option("--task", metavar="ID", help="Only deliveries of this task.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
def list_deliveries(status: str | None, task: str | None, limit: int) -> None:
    """List deliveries, newest first.

    \b
    Example:
      gateway deliveries list --status dead

    \b
    --json prints {"deliveries": [delivery], "next_cursor": str or null}
    """
    page = connect_to_gateway().get_pages("/api/deliveries", "deliveries", limit, status=status, task=task)
    if current_invocation().json:
        output.print_json(page)
        return
    rows = [
        (
            delivery["id"],
            delivery["status"],
            delivery["attempt"],
            output.format_time(delivery["next_at"]),
            _describe_receiver(delivery),
            output.shorten_text(delivery["error"] or "", 50),
        )
        for delivery in page["deliveries"]
    ]
    output.print_list(("delivery", "status", "tries", "next", "to", "error"), rows, page["next_cursor"])


@COMMAND.command("show")
@add_id_argument("delivery")
def show_delivery(id_: str | None, last: bool) -> None:
    """Show a delivery, and each attempt to send it.

    \b
    Example:
      gateway deliveries show 73F9KQ

    \b
    --json prints {"status": "ok", "delivery": delivery,
                   "attempts": [{"number", "at", "seconds", "error", "http_status"}]}
    """
    client, delivery_id = connect_for("deliveries", id_, last=last)
    found = client.get(f"/api/deliveries/{quote_part(delivery_id)}")
    if current_invocation().json:
        output.print_json(found)
    else:
        _print_delivery(found["delivery"], found["attempts"])
        _print_attempts(found["attempts"])


@COMMAND.command("retry")
@add_id_argument("delivery")
def retry_delivery(id_: str | None, last: bool) -> None:
    """Send a dead or pending delivery now. It keeps its id, and has all its tries again.

    \b
    Example:
      gateway deliveries retry 73F9KQ

    \b
    --json prints {"status": "ok", "delivery": delivery, "attempts": see gateway deliveries show --help}
    """
    client, delivery_id = connect_for("deliveries", id_, last=last)
    found = client.post(f"/api/deliveries/{quote_part(delivery_id)}/retry")
    output.print_result(found, f"Sending {found['delivery']['id']}.")


def _describe_receiver(delivery: dict[str, Any]) -> str:
    """Return the receiver: the URL of a webhook, or a chat with its channel."""
    address = str(delivery["address"])
    return output.shorten_text(address if delivery["kind"] == "webhook" else f"{delivery['kind']}:{address}", 50)


def _print_delivery(delivery: dict[str, Any], attempts: list[dict[str, Any]]) -> None:
    output.print_fields(
        [
            (name, value)
            for name, value in (
                ("Delivery", delivery["id"]),
                ("Status", delivery["status"]),
                ("Task", delivery["task"]),
                ("Kind", delivery["kind"]),
                ("Address", delivery["address"]),
                ("Format", delivery["format"]),
                ("Tries", attempts[-1]["number"] if attempts else delivery["attempt"]),
                ("Next try", output.format_time(delivery["next_at"])),
                ("Error", delivery["error"] or ""),
                ("Created", output.format_time(delivery["created_at"])),
                ("Finished", output.format_time(delivery["finished_at"])),
            )
            if value not in ("", "-")
        ]
    )


def _print_attempts(attempts: list[dict[str, Any]]) -> None:
    if not attempts:
        return
    output.print_text("")
    rows = [
        (
            tried["number"],
            output.format_time(tried["at"]),
            "-" if tried["seconds"] is None else output.format_duration(tried["seconds"]),
            tried["http_status"] or "-",
            tried["error"] or "accepted",
        )
        for tried in attempts
    ]
    output.print_table(("try", "at", "took", "answer", "result"), rows)
