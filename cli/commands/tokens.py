"""`gateway tokens`: manages named tokens, each with its own scope."""

from __future__ import annotations

import click

from cli import output
from cli.command import Group, current
from cli.remote.client import connect, part


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
    """List the named tokens, without their secrets.

    \b
    Example:
      gateway tokens list

    \b
    --json prints {"tokens": [{"name", "scope", "created_at", "expires_at": RFC 3339 or null}]}
    """
    found = connect().get("/api/tokens")
    if current().json:
        output.emit(found)
        return
    rows = [
        (token["name"], token["scope"], output.moment(token["created_at"]), output.moment(token["expires_at"]))
        for token in found["tokens"]
    ]
    output.listing(("token", "scope", "created", "expires"), rows)


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
    "--days", type=click.FloatRange(min=0, min_open=True), help="Days until it expires.  [default: it does not expire]"
)
def create(name: str, scope: str, days: float | None) -> None:
    """Create a token and print its secret. The secret is not stored and cannot be shown again.

    \b
    Example:
      gateway tokens create phone --scope write --days 90

    \b
    --json prints {"status": "ok", "token": secret, "name", "scope"}
    """
    made = connect().post("/api/tokens", {"name": name, "scope": scope, "days": days})
    output.result(made, made["token"])
    if not current().json:
        output.talk("This is the secret. It is shown only once; the gateway stores its hash.")


@COMMAND.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke a token. Open streams that use it end at once.

    \b
    Example:
      gateway tokens revoke phone

    \b
    --json prints {"status": "ok"}
    """
    output.result(connect().delete(f"/api/tokens/{part(name)}"), f"Revoked {name}.")
