"""`gateway acp`: lets an editor use the gateway, as an ACP agent on standard input and output."""

from __future__ import annotations

import io
import sys

import click

from cli.acp.agent import AcpAgent
from cli.acp.connection import EditorConnection
from cli.acp.gateway_calls import GatewayCalls
from cli.command import CommandWithoutJson, current_invocation
from cli.output import print_thread_note
from cli.remote.link import open_link
from cli.remote.message_pipe import MessagePipe
from gateway.domain.file import FileLimits
from gateway.errors import NotRunning

#: most bytes of one message of the editor: its text, and its files in base64
MAX_EDITOR_MESSAGE_BYTES = (16 << 20) + FileLimits().message_size * 4 // 3


@click.command(cls=CommandWithoutJson)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Run an ACP agent on standard input and output, for an editor such as Zed or a JetBrains IDE.

    Add this command to the settings of the editor, which then starts it. The gateway must run. If the
    editor ends, its tasks go on in the gateway, and the editor can load the conversation later.

    \b
    Examples:
      {"agent_servers": {"Moongate": {"type": "custom", "command": "gateway", "args": ["acp"]}}}
      gateway acp < messages.jsonl
    """
    env = current_invocation().merged_environment
    # Not closed at the end: threads that follow runs may still write to it.
    out = io.FileIO(sys.stdout.fileno(), "wb", closefd=False)
    connection = EditorConnection(MessagePipe(sys.stdin.buffer, out, MAX_EDITOR_MESSAGE_BYTES), env)
    gateway = GatewayCalls(open_link())
    try:
        gateway.connect()
    except NotRunning as error:
        # The editor shows it as soon as it opens a session, and tries again with the next one.
        print_thread_note(connection.describe_error(error))
    AcpAgent(connection, gateway).serve()
