"""Prints one task for people, as `gateway tasks show` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli import output
from cli.command import complete_commands
from cli.files.shown import describe_file, describe_with_command
from cli.follow.screen import describe_finish
from cli.questions import read_question, suggest_command
from gateway.domain.typed_answer import describe_field


def format_cost(task: dict[str, Any]) -> str:
    """Return the cost of a task that has ended; `-` if it never worked."""
    if task["finished_at"] is None or task["started_at"] is None:
        return "-"
    return output.format_cost(task["usage"]["cost"], unknown=task["usage"]["cost"] <= 0)


def _format_usage(task: dict[str, Any]) -> str:
    """Return the tokens and the cost of a task."""
    usage = task["usage"]
    # an older gateway does not say whether the tokens are known
    known = usage.get("tokens_known", True)
    tokens = f"{usage['input']} in, {usage['output']} out, {usage['cached']} cached" if known else "tokens unknown"
    return f"{tokens}, cost {format_cost(task)}"


def print_task(task: dict[str, Any], agent: str, deliveries: list[dict[str, Any]], asked: list[dict[str, Any]]) -> None:
    """Print a task with all that belongs to it.

    Args:
        agent: the name of its agent for people.
        asked: its requests that wait for an answer.
    """
    pairs: list[tuple[str, object]] = [
        ("Task", task["id"]),
        ("Status", task["status"] + (f" ({task['outcome']})" if task["outcome"] else "")),
        ("Waits", task["waits"]["why"] if task["waits"] else ""),
        ("Agent", agent + (f", model {task['model']}" if task["model"] else "")),
        ("Session", task["session"]),
        ("Source", task["source"] + (f", by {task['submitted_by']}" if task.get("submitted_by") else "")),
        ("Attempt", f"{task['attempt']} of {task['max_attempts']}"),
        ("Created", output.format_time(task["created_at"])),
        ("Not before", output.format_time(task["run_at"])),
        ("Took", output.format_elapsed(task["started_at"], task["finished_at"])),
        ("Usage", _format_usage(task)),
        ("Labels", ", ".join(f"{name}={value}" for name, value in task["labels"].items())),
        ("Parent", task["parent"] or ""),
        ("Retry of", task["retry_of"] or ""),
        ("Input", task["input"]),
        *(("Attachment", describe_file(file)) for file in task["attachments"]),
        *_describe_asked(task["id"], asked),
        *(("Delivery", _describe_delivery(delivery)) for delivery in deliveries),
        ("Conversation", _describe_conversation(task)),
        ("Error", task["error"] or ""),
        ("Result", task["result"] or ""),
        *(("File", describe_with_command(file)) for file in task["files"]),
        ("Cut", describe_finish(task.get("finish"))),
    ]
    output.print_fields([(name, value) for name, value in pairs if value not in ("", "-")])


def _describe_asked(task: str, asked: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield what the agent of a task asks, and the commands that answer."""
    for one in asked:
        question = read_question(one)
        fields = [] if question is None else [describe_field(field) for field in question.fields]
        yield (
            "Asks",
            "\n".join([f"{one['id']}, until {output.format_time(one['expires_at'])}: {one['action']}", *fields]),
        )
        yield "Answer", complete_commands(suggest_command(task, one))


def _describe_conversation(task: dict[str, Any]) -> str:
    """Return what the agent did not have of the conversation; empty if it had all of it."""
    restarted = "begun again with the transcript" if task["session_restarted"] else ""
    shortened = "without its oldest turns" if task["context_shortened"] else ""
    return ", ".join(filter(None, (restarted, shortened)))


def _describe_delivery(delivery: dict[str, Any]) -> str:
    """Return the state of a delivery on one line."""
    tries = delivery["attempt"]
    said = f"{delivery['status']} after {tries} {'try' if tries == 1 else 'tries'}"
    if delivery["next_at"] is not None:
        said += f", next {output.format_time(delivery['next_at'])}"
    where = (
        f"{delivery['address']}: " if delivery["kind"] == "webhook" else f"{delivery['kind']}:{delivery['address']}: "
    )
    return where + said + (f" ({output.shorten_text(delivery['error'])})" if delivery["error"] else "")
