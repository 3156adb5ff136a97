"""`gateway unreadable`: lists what is stored but cannot be read, and removes it."""

from __future__ import annotations

import click

from cli import output
from cli.command import Group, current_invocation
from cli.remote.client import connect_to_gateway, quote_part


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """List what is stored but cannot be read, and remove it.

    The gateway sets such rows aside and goes on with the others. A newer version may have written them: then
    upgrade. Or something has damaged them.

    \b
    Examples:
      gateway unreadable list
      gateway unreadable remove schedule morning
    """


@COMMAND.command("list")
def list_rows() -> None:
    """List the rows that were found since the gateway started.

    \b
    Example:
      gateway unreadable list

    \b
    --json prints {"rows": [{"kind", "id", "reason", "found_at": RFC 3339}]}
    """
    found = connect_to_gateway().get("/api/unreadable")
    if current_invocation().json:
        output.print_json(found)
        return
    rows = [(row["kind"], row["id"], output.format_time(row["found_at"]), row["reason"]) for row in found["rows"]]
    output.print_list(("kind", "id", "found", "reason"), rows)


@COMMAND.command("remove")
@click.argument("kind")
@click.argument("id_", metavar="ID")
def remove_row(kind: str, id_: str) -> None:
    """Delete a row that cannot be read, for good.

    \b
    Example:
      gateway unreadable remove schedule morning

    \b
    --json prints {"status": "ok"}
    """
    found = connect_to_gateway().delete(f"/api/unreadable/{quote_part(kind)}/{quote_part(id_)}")
    output.print_result(found, f"Removed the {kind} {id_}.")
