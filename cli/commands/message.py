"""`gateway message`: sends a message to a chat."""

from __future__ import annotations

import click

from cli import output
from cli.arguments import read_text
from cli.command import Command, current_invocation
from cli.follow.follow import follow_run, hint_on_early_interrupt
from cli.remote.client import connect_to_gateway


@click.command(cls=Command)
@click.argument("channel")
@click.argument("chat")
@click.argument("content", metavar="[MESSAGE]", required=False)
@click.option("--agent", metavar="ID", help="Agent that answers.  [default: the default agent]")
@click.option("--sync", is_flag=True, help="Wait for the reply and print it.")
def COMMAND(channel: str, chat: str, content: str | None, agent: str | None, sync: bool) -> None:  # noqa: N802 the seam's name
    """Send MESSAGE to the agent for a CHAT of a CHANNEL. The reply goes to that chat.

    The id of the message is printed at once. If MESSAGE is missing or -, it is read from standard
    input.

    \b
    Examples:
      gateway message webchat anna "Remind me of the meeting"
      gateway message webchat anna --sync "What did I ask for?"

    \b
    --json prints
      {"status": "ok", "message_id": str}                                  at once
      {"status": "ok", "reply": str, "message_id": str, "session": str}    with --sync,
    and "session_restarted" and "context_shortened" as `gateway agent` does.
    """
    body = {"channel": channel, "chat_id": chat, "content": read_text(content), "agentId": agent}
    client = connect_to_gateway()
    with hint_on_early_interrupt():
        said = client.post("/api/message", body)
    if not sync:
        output.print_result(said, said["message_id"])
        return
    reply, _, _, notices = follow_run(client, said["message_id"], None, live=False)
    if current_invocation().json:
        session = client.get(f"/api/tasks/{said['message_id']}")["task"]["session"]
        whole = {"status": "ok", "reply": reply, "message_id": said["message_id"], "session": session, **notices}
        output.print_json(whole)
    else:
        output.print_text(reply)
