"""`gateway tokens`: manages named tokens, each with its own scope, and the browsers that are signed in."""

from __future__ import annotations

from typing import Any

import click

from cli import output
from cli.arguments import Duration
from cli.command import Group, current_invocation
from cli.remote.client import connect_to_gateway, quote_part


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Create, list and revoke named tokens: one for each script, device or person.

    \b
    Examples:
      gateway tokens create phone --scope write --days 90
      gateway tokens revoke phone
    """


@COMMAND.command("list")
def list_tokens() -> None:
    """List the named tokens and the browsers that are signed in, without their secrets.

    \b
    Example:
      gateway tokens list

    \b
    --json prints
      {"tokens": [{"name", "scope", "created_at", "expires_at": RFC 3339 or null,
        "browser": what signed in, "signed_in_with": name of its token,
        "last_used": RFC 3339; these three are null for a token}]}
    """
    found = connect_to_gateway().get("/api/tokens")
    if current_invocation().json:
        output.print_json(found)
        return
    rows = [
        (
            token["name"],
            token["scope"],
            output.format_time(token["created_at"]),
            output.format_time(token["expires_at"]),
            _describe_use(token),
        )
        for token in found["tokens"]
    ]
    output.print_list(("token", "scope", "created", "expires", "browser"), rows)


def _describe_use(token: dict[str, Any]) -> str:
    """Return which browser it is, whose token it has, and when it was used; nothing for a token."""
    if token["browser"] is None:
        return ""
    used = output.format_time(token["last_used"])
    return f"{token['browser']}, signed in with {token['signed_in_with']}, last used {used}"


@COMMAND.command("create")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["read", "write", "admin"]),
    default="write",
    show_default=True,
    help="What the token allows; each scope includes the one before.",
)
@click.option(
    "--days",
    type=Duration("d", above=0),
    metavar="DURATION",
    help="Time until it expires: 12h, 90d; a plain number is in days.  [default: it does not expire]",
)
def create_token(name: str, scope: str, days: float | None) -> None:
    """Create a token and print its secret. The secret is not stored and cannot be shown again.

    \b
    Example:
      gateway tokens create phone --scope write --days 90

    \b
    --json prints {"status": "ok", "token": secret, "name", "scope"}
    """
    made = connect_to_gateway().post("/api/tokens", {"name": name, "scope": scope, "days": days})
    output.print_result(made, made["token"])
    if not current_invocation().json:
        output.print_note("This is the secret. It is shown only once; the gateway stores its hash.")


@COMMAND.command("revoke")
@click.argument("name")
def revoke_token(name: str) -> None:
    """Revoke a token, or sign a browser out. Open streams that use it end at once.

    With a token, all browsers are signed out that signed in with it.

    \b
    Examples:
      gateway tokens revoke phone
      gateway tokens revoke browser-1f3a09c2

    \b
    --json prints {"status": "ok"}
    """
    output.print_result(connect_to_gateway().delete(f"/api/tokens/{quote_part(name)}"), f"Revoked {name}.")
