"""`gateway mcp`: the gateway's tools for another agent, on standard input and output."""

from __future__ import annotations

import sys

import click

from cli.command import Wordless
from cli.remote import mcp_relay
from cli.remote.client import connect
from cli.remote.mcp_relay import Relay


@click.command(cls=Wordless)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Be an MCP server on standard input and output, for an agent that is to use the gateway.

    An agent starts this by itself; write it into its settings. The gateway has to run, with the
    extra mcp installed; without it the command says how to install it.

    \b
    Examples:
      claude mcp add moongate -- gateway mcp
      gateway mcp < messages.jsonl
    """
    client = connect()
    mcp_relay.check(client)
    Relay(client, sys.stdout.buffer).run(sys.stdin.buffer)
