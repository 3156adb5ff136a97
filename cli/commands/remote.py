"""`gateway remote`: gateways on other machines that commands can name."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from cli import output
from cli.command import Group, current_invocation
from cli.instance import SENT_TOKEN_VARIABLE, FoundToken, read_token_file
from cli.remote.client import GatewayClient
from cli.remote.elsewhere import THIS_MACHINE
from cli.remote.profiles import Remote, RemoteFiles, check_name
from cli.remote.remote_link import RemoteLink
from cli.remote.target import Target, make_target
from gateway import paths
from gateway.errors import ConfigError, Conflict


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Keep gateways on other machines under a name, and choose the one that commands go to.

    \b
    Examples:
      gateway remote add home https://gate.example --token-file home-token
      gateway --remote home agent "Hello"
      gateway remote use home        all commands go there, if they name no other
      gateway --remote local status  this machine's gateway
    """


@COMMAND.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--use", is_flag=True, help="Let commands go there if they name no gateway.")
@click.option("--replace", is_flag=True, help="Replace a remote with the same name.")
@click.option("--no-check", is_flag=True, help="Store it without a connection.")
def add_remote(name: str, url: str, use: bool, replace: bool, no_check: bool) -> None:
    """Store a gateway under NAME, after a try to reach it.

    The token comes from --token-file, or MOONGATE_TOKEN, or is asked for on a terminal. Make one on the
    gateway's machine: gateway tokens create NAME. It is stored in a file that only you can read.
    With --ca-file, the certificates in that file are trusted in place of those of this machine.

    \b
    Examples:
      gateway remote add home https://gate.example --token-file home-token
      gateway remote add lab https://10.0.0.5:18790 --token-file lab-token --ca-file lab-ca.pem

    \b
    --json prints
      {"name": str, "url": str, "default": bool, "version": of the gateway,
       "token": name of the token, "scope": "read" | "write" | "admin", "expires_at": RFC 3339 or null}
    With --no-check, the last four are null.
    """
    files, elsewhere = _open_files(), current_invocation().elsewhere
    check_name(name)
    if name in files.read_remotes().by_name and not replace:
        raise Conflict(f"there is a remote {name!r} already.", remedy="Replace it with --replace, or remove it first.")
    ca_file = elsewhere.ca_file and str(paths.expand_path(elsewhere.ca_file, "--ca-file"))
    remote = Remote(url.rstrip("/"), ca_file or None, elsewhere.allow_plain_http)
    make_target(remote, None, source="URL")  # before a token is asked for
    token = _find_token()
    target = make_target(remote, token, source="URL")
    told = dict.fromkeys(("version", "token", "scope", "expires_at")) if no_check else _check_target(target)
    files.store_remote(name, remote, token and token.value, is_default=use)
    shown = {"name": name, "url": remote.url, "default": files.read_remotes().default == name, **told}
    output.print_result(shown, "\n".join(_describe_added(shown)))


@COMMAND.command("list")
def list_remotes() -> None:
    """List the gateways that are stored.

    \b
    Example:
      gateway remote list

    \b
    --json prints
      {"default": name or null, "remotes": [{"name", "url", "ca_file": path or null,
        "allow_plain_http": bool, "has_token": bool}]}
    """
    files = _open_files()
    found = files.read_remotes()
    listed = [
        {"name": name, **remote._asdict(), "has_token": files.token_file(name).exists()}
        for name, remote in found.by_name.items()
    ]
    if current_invocation().json:
        output.print_json({"default": found.default, "remotes": listed})
        return
    rows = [
        (one["name"], one["url"], "default" if one["name"] == found.default else "", one["ca_file"] or "")
        for one in listed
    ]
    if not rows:
        output.print_note("There is none. Add one: gateway remote add NAME https://HOST")
        return
    output.print_list(("name", "address", "", "trusts"), rows)


@COMMAND.command("use")
@click.argument("name")
def use_remote(name: str) -> None:
    """Let commands go to a gateway if they name none. The name `local` means the one on this machine.

    Commands about this machine, such as gateway start, stay here.

    \b
    Examples:
      gateway remote use home
      gateway remote use local

    \b
    --json prints {"default": name or null}
    """
    chosen = None if name == THIS_MACHINE else name
    _open_files().choose_default(chosen)
    where = "the gateway on this machine" if chosen is None else name
    output.print_result({"default": chosen}, f"Commands go to {where}.")


@COMMAND.command("remove")
@click.argument("name")
def remove_remote(name: str) -> None:
    """Remove a gateway and its token from this machine. The token stays valid; its gateway can revoke it.

    \b
    Example:
      gateway remote remove home

    \b
    --json prints {"removed": name}
    """
    _open_files().remove_remote(name)
    output.print_result({"removed": name}, f"Removed {name}.")


def _open_files() -> RemoteFiles:
    return RemoteFiles(paths.state_directory(current_invocation().merged_environment))


def _find_token() -> FoundToken | None:
    """Return the token that the command line gives, or that the user types; None if there is none."""
    given = current_invocation().elsewhere.token_file
    if given is not None:
        return read_token_file(given, "--token-file")
    if os.environ.get(SENT_TOKEN_VARIABLE):
        return FoundToken(os.environ[SENT_TOKEN_VARIABLE], SENT_TOKEN_VARIABLE)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    typed = click.prompt("Token", hide_input=True, default="", show_default=False, err=True).strip()
    if not typed.isprintable():
        raise ConfigError("a token is one line of printable characters.")
    return FoundToken(typed, "the terminal") if typed else None


def _check_target(target: Target) -> dict[str, Any]:
    """Return what a gateway says about itself and about the token.

    Raises:
        GatewayError: it cannot be reached, or refuses the token.
    """
    with output.show_waiting(f"connecting to {target.url}"):
        client = GatewayClient(RemoteLink(target, current_invocation().merged_environment))
        me, health = client.get("/api/me"), client.get("/health")
    return {
        "version": health["version"],
        "token": me["name"],
        "scope": me["scope"],
        "expires_at": me["expires_at"],
    }


def _describe_added(told: dict[str, Any]) -> list[str]:
    rows = [output.add_mark("✅", f"Added {told['name']}: {told['url']}")]
    if told["version"] is not None:
        until = f", until {output.format_time(told['expires_at'])}" if told["expires_at"] else ""
        rows.append(
            f"   Gateway {told['version']} knows you as {told['token']}, with the scope {told['scope']}{until}."
        )
    if told["default"]:
        rows.append("   Commands go there if they name no other gateway.")
    else:
        rows.append(f"   Use it: gateway --remote {told['name']} status, or always: gateway remote use {told['name']}")
    return rows
