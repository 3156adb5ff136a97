"""`gateway cron`: work that begins by the clock."""

from __future__ import annotations

import sys
from typing import Any

import click

from cli import output
from cli.arguments import add_budget_options, pop_budget, text
from cli.command import Group, current
from cli.remote.client import connect, part


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Have work done by the clock, and see what became of it.

    SCHEDULE is a cron expression, "every 15m" (s, m, h or d), or an RFC 3339 time.

    \b
    Examples:
      gateway cron add "0 9 * * 1-5" --tz Europe/Berlin "summarise my inbox" --deliver telegram:123
      gateway cron runs 01m7...
      gateway cron next "every 15m"

    \b
    With --json, a job is
      {"id", "name", "schedule", "timezone", "prompt", "agentId", "session", "fresh", "model",
       "timeout", "enabled", "reason", "deliver", "webhook", "misfire", "max_age", "jitter",
       "failures", "max_failures", "budget", "next_run", "last_run", "last_status", "last_run_id", "missed",
       "created_at", "updated_at"}
    """


def _options(command: Any) -> Any:
    """Add what both `add` and `edit` take."""
    for option in (
        click.option("--name", help="What you call it."),
        click.option("--tz", "timezone", metavar="ZONE", help="Time zone, such as Europe/Berlin."),
        click.option("--agent", "agentId", metavar="ID", help="Agent to do it; the default one when left out."),
        click.option("--session", help="Conversation that it is part of; its own when left out."),
        click.option("--fresh/--no-fresh", default=None, help="Begin a new conversation each time."),
        click.option("--model", help="Model to ask for, in the agent's own words."),
        click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Time it has."),
        click.option("--deliver", metavar="CHANNEL:CHAT", help="Chat that is told the answer."),
        click.option("--webhook", metavar="URL", help="Told of each end by a signed POST."),
        click.option(
            "--misfire",
            type=click.Choice(["skip", "once", "all"]),
            help="Times that were missed: none, the newest or all are made up for.  [default: once]",
        ),
        click.option("--max-age", "max_age", type=float, metavar="SECONDS", help="Make up for none older than that."),
        click.option("--jitter", type=float, metavar="SECONDS", help="Begin up to so much later, at random."),
        click.option("--max-failures", "max_failures", type=int, help="Failures in a row that disable it; 0: never."),
    ):
        command = option(command)
    return add_budget_options(command)


@COMMAND.command("list")
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True, help="How many at the most.")
def list_jobs(limit: int) -> None:
    """List schedules, newest first.

    \b
    Example:
      gateway cron list

    \b
    --json prints {"jobs": [job], "next_cursor": str or null}
    """
    page = connect().pages("/api/cron", "jobs", limit)
    if current().json:
        output.emit(page)
        return
    rows = [
        (
            job["id"],
            job["name"],
            job["schedule"],
            output.moment(job["next_run"]) if job["enabled"] else job["reason"] or "disabled",
            job["last_status"] or "-",
            job["missed"],
        )
        for job in page["jobs"]
    ]
    output.listing(("job", "name", "schedule", "next", "last", "missed"), rows, page["next_cursor"])


@COMMAND.command("add")
@click.argument("schedule")
@click.argument("prompt", required=False)
@_options
@click.option("--disabled", is_flag=True, help="Do not begin yet.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def add(schedule: str, prompt: str | None, disabled: bool, yes: bool, **given: Any) -> None:
    """Make a schedule and print its id. At a terminal, its next five times are shown first.

    Without PROMPT, or for -, it is read from the input.

    \b
    Example:
      gateway cron add "0 9 * * 1-5" --tz Europe/Berlin "summarise my inbox"

    \b
    --json prints {"status": "ok", "job": job}
    """
    client = connect()
    if sys.stdin.isatty() and not yes and not current().json:
        _show_times(client.get("/api/cron/next", schedule=schedule, timezone=given["timezone"]), talk=True)
        click.confirm("Make it?", default=True, abort=True, err=True)
    body = {"schedule": schedule, "prompt": text(prompt), "enabled": not disabled, **_given(given)}
    made = client.post("/api/cron/create", body)
    output.result(made, made["job"]["id"])


@COMMAND.command("edit")
@click.argument("id_", metavar="ID")
@click.option("--schedule", help="When it begins.")
@click.option("--prompt", help="What to tell the agent.")
@_options
def edit(id_: str, **given: Any) -> None:
    """Change a schedule; what is left out stays.

    \b
    Example:
      gateway cron edit 01m7... --schedule "30 8 * * *"

    \b
    --json prints {"status": "ok", "job": job}
    """
    found = connect().patch(f"/api/cron/{part(id_)}", _given(given))
    output.result(found, f"Next: {output.moment(found['job']['next_run'])}.")


@COMMAND.command("remove")
@click.argument("id_", metavar="ID")
def remove(id_: str) -> None:
    """Delete a schedule; its runs stay.

    \b
    Example:
      gateway cron remove 01m7...

    \b
    --json prints {"status": "ok"}
    """
    output.result(connect().delete(f"/api/cron/{part(id_)}"), f"Removed {id_}.")


@COMMAND.command("toggle")
@click.argument("id_", metavar="ID")
def toggle(id_: str) -> None:
    """Enable a schedule that is disabled, and the other way round.

    \b
    Example:
      gateway cron toggle 01m7...

    \b
    --json prints {"status": "ok", "enabled": bool, "next_run": RFC 3339 or null}
    """
    found = connect().post(f"/api/cron/{part(id_)}/toggle")
    output.result(found, f"Enabled; next: {output.moment(found['next_run'])}." if found["enabled"] else "Disabled.")


@COMMAND.command("trigger")
@click.argument("id_", metavar="ID")
def trigger(id_: str) -> None:
    """Have a schedule's work done now; prints the task's id.

    \b
    Example:
      gateway tasks watch $(gateway cron trigger 01m7...)

    \b
    --json prints {"status": "ok", "message": str, "run_id": str}
    """
    found = connect().post("/api/cron/trigger", {"job_id": id_})
    output.result(found, found["run_id"])


@COMMAND.command("runs")
@click.argument("id_", metavar="ID")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at the most.")
def runs(id_: str, limit: int) -> None:
    """Show what became of a schedule's times, newest first; those that were missed, too.

    \b
    Example:
      gateway cron runs 01m7...

    \b
    --json prints {"runs": [{"scheduled_for", "at", "outcome", "run_id", "run_status", "error"}], "next_cursor"}
    """
    page = connect().pages(f"/api/cron/{part(id_)}/runs", "runs", limit)
    if current().json:
        output.emit(page)
        return
    rows = [
        (
            output.moment(fire["scheduled_for"]),
            output.moment(fire["at"]),
            fire["outcome"],
            fire["run_status"] or output.first_line(fire["error"] or "-", 50),
            fire["run_id"] or "-",
        )
        for fire in page["runs"]
    ]
    output.listing(("time", "decided", "outcome", "status", "task"), rows, page["next_cursor"])


@COMMAND.command("next")
@click.argument("schedule")
@click.option("--tz", "timezone", metavar="ZONE", help="Time zone, such as Europe/Berlin.")
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many times.")
def next_times(schedule: str, timezone: str | None, count: int) -> None:
    """Show the next times that a schedule would have; nothing is kept.

    \b
    Example:
      gateway cron next "0 9 * * 1-5" --tz Europe/Berlin

    \b
    --json prints {"schedule": str, "timezone": str, "times": [RFC 3339 in UTC]}
    """
    found = connect().get("/api/cron/next", schedule=schedule, timezone=timezone, count=count)
    if current().json:
        output.emit(found)
    else:
        _show_times(found)


def _show_times(found: dict[str, Any], *, talk: bool = False) -> None:
    tell = output.talk if talk else output.show
    for time in found["times"]:
        tell(output.moment(time))


def _given(given: dict[str, Any]) -> dict[str, Any]:
    """Return what was said, as the gateway takes it."""
    budget = pop_budget(given)
    body = budget | {name: value for name, value in given.items() if value is not None}
    if "deliver" in body:
        channel, _, chat = body["deliver"].partition(":")
        body["deliver"] = {"channel": channel, "chat_id": chat}
    return body
