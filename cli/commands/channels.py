"""`gateway channels`: lists the channels with their state, and pairs chats."""

from __future__ import annotations

import click

from cli import output
from cli.command import Group, current_invocation
from cli.remote.client import connect_to_gateway, quote_part


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """List the channels, and pair chats that may use them.

    \b
    Examples:
      gateway channels list
      gateway channels pair telegram
      gateway channels unpair telegram 123456789
    """


@COMMAND.command("list")
def list_channels() -> None:
    """List the channels and webhook endpoints with their state.

    \b
    Example:
      gateway channels list

    \b
    --json prints
      {"channels": [{"name", "kind": "chat" | "webhook", "state": "ready" | "polling" | "webhook" |
        "passive" | "waiting" | "refused" | "unconfigured", "detail": str,
        "chats": [{"chat", "title", "paired_at": RFC 3339 or null}], "last_poll_at", "last_success_at",
        "last_error_at", "last_error", "recent": [{"at", "ok"}]}]}
    """
    found = connect_to_gateway().get("/api/channels")
    if current_invocation().json:
        output.print_json(found)
        return
    rows = [
        (
            channel["name"],
            channel["kind"],
            channel["state"],
            ", ".join(" ".join(filter(None, (chat["chat"], chat["title"]))) for chat in channel["chats"]) or "-",
            channel["detail"] or "-",
        )
        for channel in found["channels"]
    ]
    output.print_list(("channel", "kind", "state", "chats", "detail"), rows)


@COMMAND.command("pair")
@click.argument("channel")
def pair_chat(channel: str) -> None:
    """Print a pairing code. Send it to the bot from a chat within ten minutes to let that chat in.

    \b
    Example:
      gateway channels pair telegram

    \b
    --json prints {"status": "ok", "code": str, "expires_at": RFC 3339}
    """
    made = connect_to_gateway().post(f"/api/channels/{quote_part(channel)}/pair")
    output.print_result(made, made["code"])
    if not current_invocation().json:
        output.print_note(f"Send this code to the bot before {output.format_time(made['expires_at'])}. It works once.")


@COMMAND.command("unpair")
@click.argument("channel")
@click.argument("chat")
def unpair_chat(channel: str, chat: str) -> None:
    """Remove the pairing of a chat: the bot no longer answers it.

    \b
    Example:
      gateway channels unpair telegram 123456789

    \b
    --json prints {"status": "ok"}
    """
    output.print_result(
        connect_to_gateway().delete(f"/api/channels/{quote_part(channel)}/chats/{quote_part(chat)}"),
        f"Unpaired {chat}.",
    )
