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
      gateway tokens create cron-job --agent main --session 'main:api:cron-*'
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
        "browser": what signed in, "signed_in_with": name of its token; these two are null for a token,
        "last_used": RFC 3339, "last_address", "last_client"; these three are null if it was never used,
        "agents": [slug], "sessions": [key, or beginning of a key and *]; null without such a limit}],
       "own": the last use of the gateway's own token: {"last_used", "last_address", "last_client"}}
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
            _describe_limits(token),
        )
        for token in found["tokens"]
    ]
    if found["own"]["last_used"] is not None:
        rows.insert(0, ("the gateway's own", "admin", "-", "-", _describe_use(found["own"]), ""))
    output.print_list(("token", "scope", "created", "expires", "last used", "limits"), rows)


def _describe_use(token: dict[str, Any]) -> str:
    """Return when it was used, from where and by what; of a browser, also whose token it has."""
    browser = token.get("browser")
    whose = f"{browser}, signed in with {token['signed_in_with']}, " if browser else ""
    if token["last_used"] is None:
        return f"{whose}never"
    source = [f"from {token['last_address']}" if token["last_address"] else ""]
    source.append(f"by {token['last_client']}" if token["last_client"] and not browser else "")
    words = [f"{whose}last used" if browser else "", output.format_time(token["last_used"]), *source]
    return " ".join(filter(None, words))


def _describe_limits(token: dict[str, Any]) -> str:
    """Return which agents and sessions a token is limited to; nothing if it reaches all."""
    limits = {"agents": token["agents"], "sessions": token["sessions"]}
    return "; ".join(f"{name} {', '.join(some)}" for name, some in limits.items() if some is not None)


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
@click.option("--agent", "agents", multiple=True, metavar="NAME", help="Limit it to this agent; may be repeated.")
@click.option(
    "--session",
    "sessions",
    multiple=True,
    metavar="KEY",
    help="Limit it to the session with this key, or to all whose keys begin so, with * at the end; may be repeated.",
)
def create_token(name: str, scope: str, days: float | None, agents: tuple[str, ...], sessions: tuple[str, ...]) -> None:
    """Create a token and print its secret. The secret is not stored and cannot be shown again.

    With --agent or --session it sees and uses only these agents and sessions.

    \b
    Examples:
      gateway tokens create phone --scope write --days 90
      gateway tokens create cron-job --agent main --session 'main:api:cron-*'

    \b
    --json prints {"status": "ok", "token": secret, "name", "scope"}
    """
    body: dict[str, object] = {"name": name, "scope": scope, "days": days}
    body |= {key: list(some) for key, some in (("agents", agents), ("sessions", sessions)) if some}
    made = connect_to_gateway().post("/api/tokens", body)
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
