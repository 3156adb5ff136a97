"""`gateway tokens`: tokens for scripts and people, each with a scope, and revoked alone."""

from __future__ import annotations

import click

from cli import output
from cli.command import Group, current
from cli.remote.client import connect, part


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Make and revoke named tokens, for a script, a phone, a colleague.

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
    help="What it allows; each includes the one before.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Days until it ends; never when left out.")
def create(name: str, scope: str, days: float | None) -> None:
    """Make a token and print its secret: this once, it is kept nowhere.

    \b
    Example:
      gateway tokens create phone --scope write --days 90

    \b
    --json prints {"status": "ok", "token": secret, "name", "scope"}
    """
    made = connect().post("/api/tokens", {"name": name, "scope": scope, "days": days})
    output.result(made, made["token"])
    if not current().json:
        output.talk("That is the secret. It is shown this once; only its hash is kept.")


@COMMAND.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke a token; live streams that were opened with it end at once.

    \b
    Example:
      gateway tokens revoke phone

    \b
    --json prints {"status": "ok"}
    """
    output.result(connect().delete(f"/api/tokens/{part(name)}"), f"Revoked {name}.")
