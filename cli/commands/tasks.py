"""`gateway tasks`: submits tasks, follows them, and shows their results."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.arguments import Duration, add_id_argument, parse_labels, read_text
from cli.command import Group, current_invocation
from cli.files.given import add_file_option, attach_files, check_inputs
from cli.files.saving import add_save_option, prepare_directory
from cli.follow.follow import follow_run, hint_on_early_interrupt
from cli.follow.task_page import format_cost, print_task
from cli.questions import format_answer, read_question, read_words
from cli.remote.client import GatewayClient, connect_to_gateway, quote_part
from cli.remote.lookup import connect_for, read_agent_names
from cli.remote.task_filter import add_task_filter
from gateway.errors import InvalidRequest

PERMISSION_ANSWERS = ("allow", "allow_always", "deny")
#: the most frequent reasons for waiting that are printed below a list
MAX_WAIT_REASONS = 3


class _AnswerWord(click.Choice[str]):
    """One of the answers to a permission request, or any other word: an answer to a question."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Submit tasks, follow them, and see their results.

    For the ID of a task, any part that no other task's ID has is enough. The last characters are
    best: IDs of the same days begin alike. --last is the newest task.

    \b
    Examples:
      gateway tasks add "Review the open pull requests" --label kind=review
      gateway tasks watch --last
      gateway tasks list --status running

    \b
    With --json, a task is
      {"id", "status", "outcome", "agentId", "session", "source", "submitted_by", "input", "mode", "model", "priority",
       "labels", "attachments", "files", "parent", "retry_of", "attempt", "max_attempts", "cancel_requested",
       "waits": {"why", "until"} or null, "last_event", "result", "finish", "error", "shortened",
       "usage": {"input", "output", "cached", "cost", "tokens_known", "cost_known"}, "rounds", "done",
       "session_restarted", "context_shortened", "created_at", "run_at", "started_at", "finished_at"}
    """


@COMMAND.command("list")
@add_task_filter
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
def list_tasks(which: dict[str, str | None], limit: int) -> None:
    """List tasks, newest first: all runs, however they were submitted.

    \b
    Examples:
      gateway tasks list --status failed,cancelled --since 2h
      gateway tasks list --text lemons

    \b
    --json prints {"tasks": [task], "next_cursor": str or null}
    """
    client = connect_to_gateway()
    page = client.get_pages("/api/tasks", "tasks", limit, **which)
    if current_invocation().json:
        output.print_json(page)
        return
    names = read_agent_names(client, [task["agentId"] for task in page["tasks"]])
    rows = [
        (
            task["id"],
            task["status"],
            names.get(task["agentId"], task["agentId"]),
            output.format_time(task["created_at"]),
            output.format_time(task["finished_at"]),
            output.format_elapsed(task["started_at"], task["finished_at"]),
            format_cost(task),
            output.shorten_text(task["input"], 40),
        )
        for task in page["tasks"]
    ]
    output.print_list(
        ("task", "status", "agent", "created", "ended", "took", "cost", "input"), rows, page["next_cursor"]
    )
    for why, count in Counter(task["waits"]["why"] for task in page["tasks"] if task["waits"]).most_common(
        MAX_WAIT_REASONS
    ):
        output.print_note(f"{count} of them {'waits' if count == 1 else 'wait'}: {why}.")


@COMMAND.command("show")
@add_id_argument("task")
def show_task(id_: str | None, last: bool) -> None:
    """Show a task and its result.

    \b
    Examples:
      gateway tasks show --last
      gateway tasks show 73F9KQ

    \b
    --json prints {"status": "ok", "task": task, "deliveries": [delivery, see gateway deliveries --help],
                   "permissions": [open requests, see gateway tasks permissions --help]}
    """
    client, task_id = connect_for("tasks", id_, last=last)
    found = client.get(f"/api/tasks/{quote_part(task_id)}")
    if current_invocation().json:
        output.print_json(found)
        return
    agent = found["task"]["agentId"]
    name = read_agent_names(client, [agent]).get(agent, agent)
    print_task(found["task"], name, found["deliveries"], found["permissions"])


@COMMAND.command("cancel")
@add_id_argument("task")
def cancel_task(id_: str | None, last: bool) -> None:
    """Cancel a task. A waiting task ends at once, a running one within seconds.

    \b
    Example:
      gateway tasks cancel 73F9KQ

    \b
    --json prints {"status": "ok", "task": task}
    """
    client, task_id = connect_for("tasks", id_, last=last)
    found = client.post(f"/api/tasks/{quote_part(task_id)}/cancel")
    task = found["task"]
    done = task["status"] == "cancelled"
    output.print_result(found, f"Cancelled {task['id']}." if done else f"Told {task['id']} to stop.")


@COMMAND.command("retry")
@add_id_argument("task")
def retry_task(id_: str | None, last: bool) -> None:
    """Submit a failed or cancelled task again, and print the id of the new task.

    \b
    Example:
      gateway tasks watch $(gateway tasks retry 73F9KQ)

    \b
    --json prints {"status": "ok", "task": task}
    """
    client, task_id = connect_for("tasks", id_, last=last)
    found = client.post(f"/api/tasks/{quote_part(task_id)}/retry")
    output.print_result(found, found["task"]["id"])


@COMMAND.command("permissions")
@add_id_argument("task")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
def list_permissions(id_: str | None, last: bool, limit: int) -> None:
    """List the permission requests and questions of agents, newest first.

    With the ID of a task, all of that task with their answers. Without one, those of all tasks that
    wait for an answer.

    \b
    Examples:
      gateway tasks permissions
      gateway tasks permissions 73F9KQ

    \b
    --json prints {"permissions": [permission], "next_cursor": str or null}, where a permission is
      {"id", "task", "action", "choices", "asked_at", "expires_at", "answer", "answered_at",
       "answered_by", "reason", "question": {"message", "fields": [{"name", "title", "description",
       "type", "options": [{"value", "label", "description"}], "multiple", "required", "custom"}]} or null,
       "content": {name: value} or null}; without an ID, it also has "agentId" and "session"
    """
    if id_ is None and not last:
        _list_waiting_permissions(connect_to_gateway(), limit)
        return
    client, task_id = connect_for("tasks", id_, last=last)
    page = client.get_pages(f"/api/tasks/{quote_part(task_id)}/permissions", "permissions", limit)
    if current_invocation().json:
        output.print_json(page)
        return
    rows = [
        (
            one["id"],
            format_answer(one) if one["answer"] else "waits",
            one["answered_by"] or one["reason"] or "-",
            output.format_time(one["asked_at"]),
            output.format_time(one["expires_at"]),
            output.shorten_text(one["action"], 60),
        )
        for one in page["permissions"]
    ]
    output.print_list(("request", "answer", "by", "asked", "until", "action"), rows, page["next_cursor"])


def _list_waiting_permissions(client: GatewayClient, limit: int) -> None:
    page = client.get_pages("/api/permissions", "permissions", limit, waiting="true")
    if current_invocation().json:
        output.print_json(page)
        return
    names = read_agent_names(client, [one["agentId"] for one in page["permissions"]])
    rows = [
        (
            one["task"],
            one["id"],
            names.get(one["agentId"], one["agentId"]),
            output.format_time(one["asked_at"]),
            output.format_time(one["expires_at"]),
            output.shorten_text(one["action"], 60),
        )
        for one in page["permissions"]
    ]
    output.print_list(("task", "request", "agent", "asked", "until", "action"), rows, page["next_cursor"])


@COMMAND.command("answer")
@click.argument("id_", metavar="ID")
@click.argument("request")
@click.argument("answer_", metavar="ANSWER", type=_AnswerWord(PERMISSION_ANSWERS))
@click.argument("more", metavar="[NAME=VALUE]...", nargs=-1)
def answer_permission(id_: str, request: str, answer_: str, more: tuple[str, ...]) -> None:
    """Answer a permission request with allow, allow_always or deny, or answer a question.

    Answer a question with a text, or with an option by its name or number. If it has several fields, give
    NAME=VALUE for each. deny tells the agent that nobody answers. The first answer counts, whoever gives it.

    \b
    Examples:
      gateway tasks answer 73F9KQ p1 allow
      gateway tasks answer 73F9KQ p2 Green
      gateway tasks answer 73F9KQ p3 colour=Green count=3

    \b
    --json prints {"status": "ok", "permission": permission, see gateway tasks permissions --help}
    """
    client = connect_to_gateway()
    # allow may be an option of a question; deny always tells that nobody answers
    is_plain = answer_ in PERMISSION_ANSWERS and not more
    asked = None if is_plain and answer_ == "deny" else _find_waiting(client, id_, request)
    if is_plain and (asked is None or read_question(asked) is None):
        body: dict[str, Any] = {"answer": answer_}
    else:
        body = _answer_question(id_, request, asked, (answer_, *more))
    found = client.post(f"/api/tasks/{quote_part(id_)}/permissions/{quote_part(request)}", body)
    told = found["permission"]
    said = f"to {told['answer'].replace('_', ' ')}: {told['action']}"
    if told["content"] is not None:
        said = f"the answer to {output.shorten_text(told['action'])}: {format_answer(told)}"
    output.print_result(found, f"Told {told['task']} {said}")


def _find_waiting(client: GatewayClient, id_: str, request: str) -> dict[str, Any] | None:
    """Return a request of a task's agent; None if it does not wait for an answer."""
    waiting = client.get(f"/api/tasks/{quote_part(id_)}")["permissions"]
    return next((one for one in waiting if one["id"] == request), None)


def _answer_question(id_: str, request: str, asked: dict[str, Any] | None, words: tuple[str, ...]) -> dict[str, Any]:
    """Return the body that answers a question which waits.

    Raises:
        UsageError: it is no question, or the words do not answer it.
    """
    context = click.get_current_context()
    if asked is None:
        said = f"{request} of that task does not wait for an answer: gateway tasks permissions {id_} lists them."
        raise click.UsageError(said, context)
    question = read_question(asked)
    if question is None:
        expected = ", ".join(PERMISSION_ANSWERS)
        raise click.UsageError(f'"{" ".join(words)}" answers no permission request: it must be {expected}.', context)
    try:
        return {"answer": "answer", "content": read_words(question, words)}
    except InvalidRequest as error:
        raise click.UsageError(error.message, context) from error


@COMMAND.command("watch")
@add_id_argument("task")
@add_save_option
def watch_task(id_: str | None, last: bool, save: Path | None) -> None:
    """Follow a task from its beginning to its end, also across restarts of the gateway.

    The answer goes to stdout, everything else to stderr. Exit code 0 if the task succeeded, else 1.
    Ctrl-C does not stop the task.

    \b
    Example:
      gateway tasks watch 73F9KQ

    \b
    --json prints a line for each event: {"id": int, "data": {"kind": str, ...}}; the last is
      {"id": int, "data": {"kind": "end", "status", "outcome", "result"?, "finish"?, "error"?}}
    """
    prepare_directory(save)
    _follow_task(*connect_for("tasks", id_, last=last), save)


@COMMAND.command("add")
@click.argument("input_", metavar="[INPUT]", required=False)
@add_file_option
@click.option("--agent", metavar="ID", help="Agent that does the task.  [default: the default agent]")
@click.option("--session", help="Conversation to continue.  [default: a new one]")
@click.option("--model", help="Model to use, as the agent names it.")
@click.option(
    "--timeout",
    type=Duration(above=0),
    metavar="DURATION",
    help="Longest time of the task: 90s, 10m; a plain number is in seconds.",
)
@click.option(
    "--priority", type=click.IntRange(-1000, 1000), help="Tasks of an agent with a higher one run first.  [default: 0]"
)
@click.option("--run-at", metavar="TIME", help="Do not start before this time: RFC 3339; local time if it has no zone.")
@click.option(
    "--label", "words", metavar="NAME=VALUE", multiple=True, help="Label to find the task by; may be repeated."
)
@click.option("--parent", metavar="ID", help="Task that this one is part of.")
@click.option(
    "--webhook", metavar="URL", help="Send a signed POST to this URL when the task ends, and retry until it arrives."
)
@click.option("--goal", is_flag=True, help="Repeat until the agent says that the goal in INPUT is reached.")
@click.option("--max-rounds", type=click.IntRange(1, 100), help="Most rounds for --goal.  [default: 10]")
@click.option("--watch", "follow", is_flag=True, help="Follow the task to its end, as `tasks watch` does.")
@add_save_option
def add_task(
    input_: str | None,
    files: tuple[str, ...],
    follow: bool,
    save: Path | None,
    goal: bool,
    words: tuple[str, ...],
    run_at: str | None,
    **given: Any,
) -> None:
    """Submit a task and print its id. By then the task is on disk, and no restart loses it.

    If INPUT is missing or -, it is read from standard input.

    \b
    Examples:
      gateway tasks add "Tidy up the inbox" --label kind=chore
      gateway tasks add "Build the release" --webhook https://example.org/hook
      gateway tasks add "Summarize this" --file report.pdf
      gateway tasks add --run-at 2030-01-01T09:00 "Wish a happy new year"

    \b
    --json prints {"status": "ok", "task": task}. With --watch the events follow, as in `tasks watch`.
    """
    agent = given.pop("agent")
    check_inputs(files, input_)
    if save is not None and not follow:
        raise click.UsageError("--save needs --watch, which waits for the end.", click.get_current_context())
    body = {
        "input": read_text(input_),
        "agentId": agent,
        "run_at": _add_local_zone(run_at),
        "labels": parse_labels(words),
        **given,
    }
    if goal:
        body["mode"] = "goal"
    if save is not None:
        body["wants_files"] = True
    prepare_directory(save)
    with hint_on_early_interrupt():
        client = connect_to_gateway()
        made = client.post("/api/tasks", {**body, "attachments": attach_files(client, files)})
    output.print_result(made, made["task"]["id"], as_line=follow)
    if follow:
        _follow_task(client, made["task"]["id"], save)


def _follow_task(client: GatewayClient, id_: str, save: Path | None) -> None:
    task = client.get(f"/api/tasks/{quote_part(id_)}")["task"]
    if output.wants_decoration(sys.stderr) and not current_invocation().json:
        age = output.format_elapsed(task["created_at"], None)
        output.print_note(f"{task['id']}, {task['agentId']}, {age} ago: {output.shorten_text(task['input'])}")
    follow_run(client, task["id"], None, live=True, talk=True, save=save)
    if not current_invocation().json:
        output.print_note("succeeded")


def _add_local_zone(text: str | None) -> str | None:
    """Return a time with its zone; without one it is local time."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except ValueError:
        context = click.get_current_context()
        raise click.UsageError(f'--run-at: "{text}" is not a time. Write it as 2030-01-31T09:00.', context) from None
