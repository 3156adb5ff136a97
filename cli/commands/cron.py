"""`gateway cron`: manages schedules, which start tasks at set times."""

from __future__ import annotations

import sys
from typing import Any

import click

from cli import output
from cli.arguments import add_budget_options, pop_budget, read_text
from cli.command import Group, current_invocation
from cli.remote.client import connect_to_gateway, quote_part


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Manage schedules, which start tasks at set times, and see their results.

    SCHEDULE is a cron expression, "every 15m" (s, m, h or d), or an RFC 3339 time.

    \b
    Examples:
      gateway cron add "0 9 * * 1-5" --tz Europe/Berlin "summarise my inbox" --deliver telegram:123
      gateway cron runs 01m7...
      gateway cron next "every 15m"

    \b
    With --json, a job is
      {"id", "name", "schedule", "timezone", "prompt", "agentId", "session", "fresh", "model",
       "timeout", "enabled", "reason", "deliver", "webhook", "misfire", "overlap", "max_age",
       "jitter", "failures", "max_failures", "budget", "next_run", "last_run", "last_status", "last_run_id",
       "missed", "skipped", "skip_reason", "created_at", "updated_at"}
    """


def _add_schedule_options(command: Any) -> Any:
    """Add the options that `add` and `edit` share."""
    for option in (
        click.option("--name", help="Display name."),
        click.option("--tz", "timezone", metavar="ZONE", help="Time zone, such as Europe/Berlin."),
        click.option(
            "--agent", "agentId", metavar="ID", help="Agent that does the work.  [default: the default agent]"
        ),
        click.option("--session", help="Conversation to continue.  [default: one of its own]"),
        click.option("--fresh/--no-fresh", default=None, help="Start a new conversation each time."),
        click.option("--model", help="Model to use, as the agent names it."),
        click.option(
            "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Longest time of a run."
        ),
        click.option("--deliver", metavar="CHANNEL:CHAT", help="Chat that gets the answer."),
        click.option("--webhook", metavar="URL", help="Send a signed POST to this URL when a run ends."),
        click.option(
            "--misfire",
            type=click.Choice(["skip", "once", "all"]),
            help="Which missed times to make up for: none, the newest, or all.  [default: once]",
        ),
        click.option(
            "--overlap",
            type=click.Choice(["queue_one", "queue", "skip", "replace"]),
            help="What happens at a time while earlier runs have not ended: one run waits, all wait, the time is"
            " skipped, or the earlier runs are cancelled.  [default: queue_one]",
        ),
        click.option("--max-age", "max_age", type=float, metavar="SECONDS", help="Skip missed times older than this."),
        click.option("--jitter", type=float, metavar="SECONDS", help="Start later by a random time up to this."),
        click.option(
            "--max-failures", "max_failures", type=int, help="Disable it after this many failures in a row; 0 is never."
        ),
    ):
        command = option(command)
    return add_budget_options(command)


@COMMAND.command("list")
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True, help="Most entries to list.")
def list_schedules(limit: int) -> None:
    """List schedules, newest first.

    \b
    Example:
      gateway cron list

    \b
    --json prints {"jobs": [job], "next_cursor": str or null}
    """
    page = connect_to_gateway().get_pages("/api/cron", "jobs", limit)
    if current_invocation().json:
        output.print_json(page)
        return
    rows = [
        (
            job["id"],
            job["name"],
            job["schedule"],
            output.format_time(job["next_run"]) if job["enabled"] else job["reason"] or "disabled",
            job["last_status"] or "-",
            job["missed"],
        )
        for job in page["jobs"]
    ]
    output.print_list(("job", "name", "schedule", "next", "last", "missed"), rows, page["next_cursor"])


@COMMAND.command("add")
@click.argument("schedule")
@click.argument("prompt", required=False)
@_add_schedule_options
@click.option("--disabled", is_flag=True, help="Create it disabled.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
def add_schedule(schedule: str, prompt: str | None, disabled: bool, yes: bool, **given: Any) -> None:
    """Create a schedule and print its id. On a terminal, its next five times are shown first.

    If PROMPT is missing or -, it is read from standard input.

    \b
    Example:
      gateway cron add "0 9 * * 1-5" --tz Europe/Berlin "summarise my inbox"

    \b
    --json prints {"status": "ok", "job": job}
    """
    client = connect_to_gateway()
    if sys.stdin.isatty() and not yes and not current_invocation().json:
        _print_times(client.get("/api/cron/next", schedule=schedule, timezone=given["timezone"]), talk=True)
        click.confirm("Create it?", default=True, abort=True, err=True)
    body = {"schedule": schedule, "prompt": read_text(prompt), "enabled": not disabled, **_build_body(given)}
    made = client.post("/api/cron/create", body)
    output.print_result(made, made["job"]["id"])


@COMMAND.command("edit")
@click.argument("id_", metavar="ID")
@click.option("--schedule", help="New times, as for `add`.")
@click.option("--prompt", help="New prompt for the agent.")
@_add_schedule_options
def edit_schedule(id_: str, **given: Any) -> None:
    """Change a schedule. Options that you leave out change nothing.

    \b
    Example:
      gateway cron edit 01m7... --schedule "30 8 * * *"

    \b
    --json prints {"status": "ok", "job": job}
    """
    found = connect_to_gateway().patch(f"/api/cron/{quote_part(id_)}", _build_body(given))
    output.print_result(found, f"Next: {output.format_time(found['job']['next_run'])}.")


@COMMAND.command("remove")
@click.argument("id_", metavar="ID")
def remove_schedule(id_: str) -> None:
    """Delete a schedule. The tasks that it started are kept.

    \b
    Example:
      gateway cron remove 01m7...

    \b
    --json prints {"status": "ok"}
    """
    output.print_result(connect_to_gateway().delete(f"/api/cron/{quote_part(id_)}"), f"Removed {id_}.")


@COMMAND.command("toggle")
@click.argument("id_", metavar="ID")
def toggle_schedule(id_: str) -> None:
    """Enable a schedule that is disabled; disable one that is enabled.

    \b
    Example:
      gateway cron toggle 01m7...

    \b
    --json prints {"status": "ok", "enabled": bool, "next_run": RFC 3339 or null}
    """
    found = connect_to_gateway().post(f"/api/cron/{quote_part(id_)}/toggle")
    output.print_result(
        found, f"Enabled; next: {output.format_time(found['next_run'])}." if found["enabled"] else "Disabled."
    )


@COMMAND.command("trigger")
@click.argument("id_", metavar="ID")
def trigger_schedule(id_: str) -> None:
    """Start the task of a schedule now, and print the task's id.

    \b
    Example:
      gateway tasks watch $(gateway cron trigger 01m7...)

    \b
    --json prints {"status": "ok", "message": str, "run_id": str}
    """
    found = connect_to_gateway().post("/api/cron/trigger", {"job_id": id_})
    output.print_result(found, found["run_id"])


@COMMAND.command("runs")
@click.argument("id_", metavar="ID")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
def list_runs(id_: str, limit: int) -> None:
    """Show the past times of a schedule and their results, newest first. Missed and skipped times are included.

    \b
    Example:
      gateway cron runs 01m7...

    \b
    --json prints {"runs": [{"scheduled_for", "at", "outcome", "run_id", "run_status", "error"}], "next_cursor"}
    """
    page = connect_to_gateway().get_pages(f"/api/cron/{quote_part(id_)}/runs", "runs", limit)
    if current_invocation().json:
        output.print_json(page)
        return
    rows = [
        (
            output.format_time(fire["scheduled_for"]),
            output.format_time(fire["at"]),
            fire["outcome"],
            fire["run_status"] or output.shorten_text(fire["error"] or "-", 50),
            fire["run_id"] or "-",
        )
        for fire in page["runs"]
    ]
    output.print_list(("time", "decided", "outcome", "status", "task"), rows, page["next_cursor"])


@COMMAND.command("next")
@click.argument("schedule")
@click.option("--tz", "timezone", metavar="ZONE", help="Time zone, such as Europe/Berlin.")
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True, help="Number of times to show.")
def show_next_times(schedule: str, timezone: str | None, count: int) -> None:
    """Show the next times of a schedule. Nothing is created.

    \b
    Example:
      gateway cron next "0 9 * * 1-5" --tz Europe/Berlin

    \b
    --json prints {"schedule": str, "timezone": str, "times": [RFC 3339 in UTC]}
    """
    found = connect_to_gateway().get("/api/cron/next", schedule=schedule, timezone=timezone, count=count)
    if current_invocation().json:
        output.print_json(found)
    else:
        _print_times(found)


def _print_times(found: dict[str, Any], *, talk: bool = False) -> None:
    tell = output.print_note if talk else output.print_text
    for time in found["times"]:
        tell(output.format_time(time))


def _build_body(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options as the body of a request."""
    budget = pop_budget(given)
    body = budget | {name: value for name, value in given.items() if value is not None}
    if "deliver" in body:
        channel, _, chat = body["deliver"].partition(":")
        body["deliver"] = {"channel": channel, "chat_id": chat}
    return body
