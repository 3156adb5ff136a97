"""`gateway mcp`: offers the gateway's tools to another agent, as an MCP server on standard input and output."""

from __future__ import annotations

import sys

import click

from cli.command import CommandWithoutJson
from cli.remote import mcp_relay
from cli.remote.client import connect_to_gateway
from cli.remote.mcp_relay import MAX_RELAYED_BYTES, McpRelay
from cli.remote.message_pipe import MessagePipe


@click.command(cls=CommandWithoutJson)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Run an MCP server on standard input and output, for an agent that uses the gateway.

    Add this command to the settings of the agent, which then starts it. The gateway must run and
    have the extra `mcp` installed. If it is missing, the command says how to install it.

    \b
    Examples:
      claude mcp add moongate -- gateway mcp
      gateway mcp < messages.jsonl
    """
    client = connect_to_gateway()
    mcp_relay.check_access(client)
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as out:
        McpRelay(client, MessagePipe(sys.stdin.buffer, out, MAX_RELAYED_BYTES)).relay_messages()
