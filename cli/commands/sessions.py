"""`gateway sessions`: lists, shows, searches, renames and deletes conversations."""

from __future__ import annotations

from typing import Any

import click

from cli import output
from cli.command import Group, current_invocation
from cli.files.shown import describe_with_command
from cli.remote.client import connect_to_gateway, quote_part


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """List, read, search, rename and delete conversations.

    Name a session by its key, agent:channel:chat, or by its chat alone.

    \b
    Examples:
      gateway sessions list
      gateway sessions show default
    """


@COMMAND.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
def list_sessions(limit: int) -> None:
    """List sessions, the last used one first.

    \b
    Example:
      gateway sessions list --limit 10

    \b
    --json prints
      {"sessions": [{"key", "agentId", "channel", "chat_id", "title", "messages": int,
        "active": int, "created_at", "last_activity"}], "next_cursor": str or null}
    """
    page = connect_to_gateway().get_pages("/api/sessions", "sessions", limit)
    if current_invocation().json:
        output.print_json(page)
        return
    rows = [
        (
            session["key"],
            output.shorten_text(session["title"], 40),
            session["messages"],
            session["active"],
            output.format_time(session["last_activity"]),
        )
        for session in page["sessions"]
    ]
    output.print_list(("session", "title", "messages", "active", "last activity"), rows, page["next_cursor"])


@COMMAND.command("show")
@click.argument("key")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=1000, show_default=True, help="Number of newest messages to show."
)
def show_session(key: str, limit: int) -> None:
    """Show a session's messages, oldest first.

    \b
    Example:
      gateway sessions show main:api:default

    \b
    --json prints
      {"session": {as in list}, "messages": [{"role", "content", "files", "at", "run_id"}],
       "next_cursor": str or null}
    """
    gateway, path = connect_to_gateway(), f"/api/sessions/{quote_part(key)}"
    found = gateway.get(path, limit=limit)
    while found["next_cursor"] is not None and (missing := limit - len(found["messages"])) > 0:
        earlier = gateway.get(path, limit=missing, cursor=found["next_cursor"])
        found = {**earlier, "messages": earlier["messages"] + found["messages"]}
    if current_invocation().json:
        output.print_json(found)
        return
    output.print_note(f"{found['session']['key']}: {found['session']['messages']} messages")
    for message in found["messages"]:
        output.print_text(f"\n{_format_heading(message)}\n{message['content']}")
        for file in message["files"]:
            output.print_text(f"  {describe_with_command(file)}")


@COMMAND.command("search")
@click.argument("query")
@click.option("--session", metavar="KEY", help="Only in this session.")
@click.option("--agent", metavar="ID", help="Only in sessions of this agent.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Most entries to list.")
def search_messages(query: str, session: str | None, agent: str | None, limit: int) -> None:
    """Search messages, newest first.

    A message matches if it contains all words of QUERY, or longer words that begin with them. (A word
    of two letters needs an asterisk for that: co*.) "A phrase" must match exactly; -word must be
    absent.

    \b
    Examples:
      gateway sessions search "release notes"
      gateway sessions search 'deploy* "blue green" -staging' --agent main

    \b
    --json prints
      {"results": [{"session", "agentId", "role", "at", "run_id", "snippet", "matches": [str]}],
       "next_cursor": str or null}
    """
    page = connect_to_gateway().get_pages("/api/search", "results", limit, q=query, session=session, agent=agent)
    if current_invocation().json:
        output.print_json(page)
        return
    for found in page["results"]:
        output.print_text(
            f"{found['session']}: {_format_heading(found)}\n  {output.shorten_text(found['snippet'], 400)}\n"
        )
    if not page["results"]:
        output.print_note("None.")
    if page["next_cursor"] is not None:
        output.print_note("There are more. To see them, use --limit.")


def _format_heading(message: dict[str, Any]) -> str:
    return f"{message['role']}, {output.format_time(message['at'])}, task {message['run_id']}"


@COMMAND.command("rename")
@click.argument("key")
@click.argument("title")
def rename_session(key: str, title: str) -> None:
    """Give a session a title, which stays whatever is said in it.

    \b
    Example:
      gateway sessions rename main:api:default "Release notes"

    \b
    --json prints {"status": "ok", "session": {as in list}}
    """
    answer = connect_to_gateway().patch(f"/api/sessions/{quote_part(key)}", {"title": title})
    output.print_result(answer, f"Renamed {key}.")


@COMMAND.command("delete")
@click.argument("key")
@click.option("--force", is_flag=True, help="First cancel its running and waiting tasks.")
def delete_session(key: str, force: bool) -> None:
    """Delete a session with its messages. Refused while tasks run or wait in it.

    \b
    Example:
      gateway sessions delete main:api:default --force

    \b
    --json prints {"status": "ok"}
    """
    answer = connect_to_gateway().delete(f"/api/sessions/{quote_part(key)}", force=force)
    output.print_result(answer, f"Deleted {key}.")
