"""`gateway agent`: sends a message to an agent and prints its answer."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli import output
from cli.arguments import Duration, read_text
from cli.command import Command, current_invocation
from cli.files.given import add_file_option, attach_files, check_inputs
from cli.files.saving import add_save_option, prepare_directory
from cli.follow.follow import follow_run, hint_on_early_interrupt
from cli.remote.client import connect_to_gateway


@click.command(cls=Command)
@click.argument("message", required=False)
@add_file_option
@click.option("--session", default="default", show_default=True, help="Name or full key of the conversation.")
@click.option("--agent", metavar="ID", help="Agent to ask.  [default: the default agent]")
@click.option("--model", help="Model to use, as the agent names it.")
@click.option(
    "--timeout",
    type=Duration(above=0),
    metavar="DURATION",
    help="Longest time that the answer may take: 90s, 10m; a plain number is in seconds.",
)
@click.option(
    "--stream/--no-stream", default=None, help="Print the answer as it arrives.  [default: only on a terminal]"
)
@add_save_option
def COMMAND(  # noqa: N802 the seam's name
    message: str | None,
    files: tuple[str, ...],
    session: str,
    agent: str | None,
    model: str | None,
    timeout: float | None,
    stream: bool | None,
    save: Path | None,
) -> None:
    """Ask an agent and print its answer.

    If MESSAGE is missing or -, it is read from standard input. Ctrl-C does not stop the agent; it
    prints the command that follows its task again. Files that the agent makes are named on the error
    stream, each with the command that gets it.

    \b
    Examples:
      gateway agent "What is 2+2?"
      gateway agent "What is wrong here?" --file error.png
      gateway agent "Draw the sales of the year" --file sales.csv --save charts
      git diff | gateway agent --session review
      gateway agent --json "Hello" | jq -r .reply

    \b
    --json prints
      {"status": "ok", "reply": str, "files": [file], "finish": str | null, "session": str, "run_id": str,
       "usage": {"input": int, "output": int, "cached": int, "cost": float,
                 "tokens_known": bool, "cost_known": bool}},
    where a file is {"id", "name", "media_type", "size", "sha256"}, with "path" if it was saved,
    and "session_restarted": true if the agent had lost the conversation and was given the transcript, and
    "context_shortened": true if the oldest turns were left out because the model could not read them all.
    With --stream, one line for each event comes first: {"id": int, "data": {"kind": str, ...}}.
    """
    check_inputs(files, message)
    body: dict[str, object] = {
        "message": read_text(message),
        "session": session,
        "agentId": agent,
        "model": model,
        "timeout": timeout,
    }
    if save is not None:
        body["wants_files"] = True
    prepare_directory(save)
    as_json = current_invocation().json
    live = (sys.stdout.isatty() and not as_json) if stream is None else stream
    client = connect_to_gateway()
    with hint_on_early_interrupt():
        attachments = attach_files(client, files)
        run, opened = client.start_run("/api/agent", {**body, "attachments": attachments})
    reply, finish, usage, notices, made = follow_run(
        client, run, opened, live=live, talk=sys.stderr.isatty(), save=save
    )
    if as_json:
        known = {"tokens_known": usage["input"] + usage["output"] > 0, "cost_known": usage["cost"] > 0}
        told = {"reply": reply, "files": made, "finish": finish, "session": session, "run_id": run}
        whole = {"status": "ok", **told, "usage": usage | known, **notices}
        (output.print_json_line if live else output.print_json)(whole)
    elif not live:
        output.print_text(reply)
