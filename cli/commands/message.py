"""`gateway message`: sends a message to a chat."""

from __future__ import annotations

from pathlib import Path

import click

from cli import output
from cli.arguments import read_text
from cli.command import Command, current_invocation
from cli.files.given import add_file_option, attach_files, check_inputs
from cli.files.saving import add_save_option, prepare_directory
from cli.follow.follow import follow_run, hint_on_early_interrupt
from cli.remote.client import connect_to_gateway


@click.command(cls=Command)
@click.argument("channel")
@click.argument("chat")
@click.argument("content", metavar="[MESSAGE]", required=False)
@add_file_option
@click.option("--agent", metavar="ID", help="Agent that answers.  [default: the default agent]")
@click.option("--sync", is_flag=True, help="Wait for the reply and print it.")
@add_save_option
def COMMAND(  # noqa: N802 the seam's name
    channel: str,
    chat: str,
    content: str | None,
    files: tuple[str, ...],
    agent: str | None,
    sync: bool,
    save: Path | None,
) -> None:
    """Send MESSAGE to the agent for a CHAT of a CHANNEL. The reply goes to that chat.

    The id of the message is printed at once. If MESSAGE is missing or -, it is read from standard
    input.

    \b
    Examples:
      gateway message webchat anna "Remind me of the meeting"
      gateway message webchat anna --sync "What did I ask for?"
      gateway message webchat anna "Read this, please" --file report.pdf

    \b
    --json prints
      {"status": "ok", "message_id": str}                                  at once
      {"status": "ok", "reply": str, "files": [file], "message_id": str, "session": str}    with --sync,
    where a file is {"id", "name", "media_type", "size", "sha256"}, with "path" if it was saved,
    and "session_restarted" and "context_shortened" as `gateway agent` does.
    """
    check_inputs(files, content)
    if save is not None and not sync:
        raise click.UsageError("--save needs --sync, which waits for the reply.", click.get_current_context())
    body = {"channel": channel, "chat_id": chat, "content": read_text(content), "agentId": agent}
    prepare_directory(save)
    client = connect_to_gateway()
    with hint_on_early_interrupt():
        said = client.post("/api/message", {**body, "attachments": attach_files(client, files)})
    if not sync:
        output.print_result(said, said["message_id"])
        return
    reply, _, _, notices, made = follow_run(client, said["message_id"], None, live=False, save=save)
    if current_invocation().json:
        session = client.get(f"/api/tasks/{said['message_id']}")["task"]["session"]
        told = {"reply": reply, "files": made, "message_id": said["message_id"], "session": session}
        output.print_json({"status": "ok", **told, **notices})
    else:
        output.print_text(reply)
