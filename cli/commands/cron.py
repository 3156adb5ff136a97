"""`gateway cron`: manages schedules, which start tasks at set times."""

from __future__ import annotations

import contextlib
import sys
import zoneinfo
from datetime import UTC, datetime, tzinfo
from typing import Any

import click

from cli import output
from cli.arguments import Duration, add_budget_options, pop_budget, read_text
from cli.command import Group, current_invocation
from cli.files.given import add_file_option, attach_files, check_inputs
from cli.files.shown import describe_with_command
from cli.remote.client import connect_to_gateway, quote_part
from cli.remote.lookup import find_schedule_id
from gateway.errors import GatewayError, InvalidRequest, ScheduleNotFound


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Manage schedules, which start tasks at set times, and see their results.

    ID is the name of a schedule, its id, or any part of its id that no other schedule has. SCHEDULE
    is a cron expression, "every 15m" (s, m, h or d), or an RFC 3339 time.

    \b
    Examples:
      gateway cron add "0 9 * * 1-5" --tz Europe/Berlin "summarise my inbox" --name inbox
      gateway cron show inbox
      gateway cron runs inbox
      gateway cron next "every 15m"

    \b
    With --json, a job is
      {"id", "name", "schedule", "timezone", "prompt", "attachments", "agentId", "session", "fresh", "model",
       "timeout", "enabled", "reason", "deliver", "webhook", "misfire", "overlap", "max_age",
       "jitter", "failures", "max_failures", "budget", "next_run", "last_run", "last_status", "last_run_id",
       "missed", "skipped", "skip_reason", "created_at", "updated_at"}
    """


def _add_schedule_options(command: Any) -> Any:
    """Add the options that `add` and `edit` share."""
    command = add_budget_options(command)
    for option in reversed(
        (
            click.option("--name", help="Display name."),
            click.option(
                "--tz", "timezone", metavar="ZONE", help="Time zone, such as Europe/Berlin.  [default: the gateway's]"
            ),
            click.option(
                "--agent", "agentId", metavar="ID", help="Agent that does the work.  [default: the default agent]"
            ),
            click.option("--session", help="Conversation to continue.  [default: one of its own]"),
            click.option("--fresh/--no-fresh", default=None, help="Start a new conversation each time."),
            click.option("--model", help="Model to use, as the agent names it."),
            click.option(
                "--timeout",
                type=Duration(above=0),
                metavar="DURATION",
                help="Longest time of a task: 90s, 10m; a plain number is in seconds.",
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
            click.option(
                "--max-age",
                "max_age",
                type=Duration(),
                metavar="DURATION",
                help="Skip missed times older than this: 30s, 2h; a plain number is in seconds.",
            ),
            click.option(
                "--jitter",
                type=Duration(),
                metavar="DURATION",
                help="Start later by a random time up to this: 30s, 5m; a plain number is in seconds.",
            ),
            click.option(
                "--max-failures",
                "max_failures",
                type=int,
                help="Disable it after this many failures in a row; 0 is never.",
            ),
        )
    ):
        command = option(command)
    return command


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
            job["timezone"],
            _format_in_zone(job["next_run"], job["timezone"]) if job["enabled"] else job["reason"] or "disabled",
            job["agentId"] or "default",
            _describe_target(job) or "-",
            job["last_status"] or "-",
            job["missed"],
            job["skipped"],
            output.shorten_text(job["prompt"], 40),
        )
        for job in page["jobs"]
    ]
    headers = ("job", "name", "schedule", "zone", "next", "agent", "target", "last", "missed", "skipped", "prompt")
    output.print_list(headers, rows, page["next_cursor"])


@COMMAND.command("show")
@click.argument("id_", metavar="ID")
def show_schedule(id_: str) -> None:
    """Show a schedule, with its next times in its own time zone.

    \b
    Example:
      gateway cron show inbox

    \b
    --json prints {"status": "ok", "job": job and "next_runs": [RFC 3339 in UTC]}
    """
    client = connect_to_gateway()
    found = client.get(f"/api/cron/{quote_part(find_schedule_id(client, id_))}")
    if current_invocation().json:
        output.print_json(found)
    else:
        _print_schedule(found["job"])


@COMMAND.command("add")
@click.argument("schedule")
@click.argument("prompt", required=False)
@add_file_option
@_add_schedule_options
@click.option("--disabled", is_flag=True, help="Create it disabled.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
def add_schedule(
    schedule: str, prompt: str | None, files: tuple[str, ...], disabled: bool, yes: bool, **given: Any
) -> None:
    """Create a schedule and print its id. On a terminal, its next five times are shown first.

    If PROMPT is missing or -, it is read from standard input. The agent gets the files each time, as
    they are now.

    \b
    Example:
      gateway cron add "0 9 * * 1-5" --tz Europe/Berlin "summarise my inbox"

    \b
    --json prints {"status": "ok", "job": job}
    """
    check_inputs(files, prompt)
    client = connect_to_gateway()
    if sys.stdin.isatty() and not yes and not current_invocation().json:
        _print_times(client.get("/api/cron/next", schedule=schedule, timezone=given["timezone"]), talk=True)
        click.confirm("Create it?", default=True, abort=True, err=True)
    body = {"schedule": schedule, "prompt": read_text(prompt), "enabled": not disabled, **_build_body(given)}
    made = client.post("/api/cron/create", {**body, "attachments": attach_files(client, files)})
    output.print_result(made, made["job"]["id"])
    job = made["job"]
    if not current_invocation().json and job["enabled"]:
        output.print_note(f"Next: {_format_next_run(job)}.")


@COMMAND.command("edit")
@click.argument("id_", metavar="ID")
@click.option("--schedule", help="New times, as for `add`.")
@click.option("--prompt", help="New prompt for the agent.")
@add_file_option
@click.option("--no-files", is_flag=True, help="Send no files along any more.")
@_add_schedule_options
def edit_schedule(id_: str, files: tuple[str, ...], no_files: bool, **given: Any) -> None:
    """Change a schedule. Options that you leave out change nothing; files replace those that it has.

    \b
    Example:
      gateway cron edit inbox --schedule "30 8 * * *"

    \b
    --json prints {"status": "ok", "job": job}
    """
    check_inputs(files)
    if files and no_files:
        raise click.UsageError("Give --file or --no-files, not both.", click.get_current_context())
    client = connect_to_gateway()
    path = f"/api/cron/{quote_part(find_schedule_id(client, id_))}"
    body = _build_body(given)
    if files or no_files:
        body["attachments"] = attach_files(client, files) or []
    found = client.patch(path, body)
    job = found["job"]
    disabled = f"Disabled: {job['reason'] or 'by hand'}."
    output.print_result(found, f"Next: {_format_next_run(job)}." if job["enabled"] else disabled)


@COMMAND.command("remove")
@click.argument("id_", metavar="ID")
def remove_schedule(id_: str) -> None:
    """Delete a schedule. The tasks that it started are kept.

    \b
    Example:
      gateway cron remove inbox

    \b
    --json prints {"status": "ok"}
    """
    client = connect_to_gateway()
    output.print_result(client.delete(f"/api/cron/{quote_part(find_schedule_id(client, id_))}"), f"Removed {id_}.")


@COMMAND.command("toggle")
@click.argument("id_", metavar="ID")
def toggle_schedule(id_: str) -> None:
    """Enable a schedule that is disabled; disable one that is enabled.

    \b
    Example:
      gateway cron toggle inbox

    \b
    --json prints {"status": "ok", "enabled": bool, "next_run": RFC 3339 or null}
    """
    client = connect_to_gateway()
    path = f"/api/cron/{quote_part(find_schedule_id(client, id_))}"
    found = client.post(f"{path}/toggle")
    if found["enabled"] and not current_invocation().json:
        output.print_text(f"Enabled; next: {_format_next_run(client.get(path)['job'])}.")
    else:
        output.print_result(found, "Disabled.")


@COMMAND.command("trigger")
@click.argument("id_", metavar="ID")
def trigger_schedule(id_: str) -> None:
    """Start the task of a schedule now, and print the task's id.

    \b
    Example:
      gateway tasks watch $(gateway cron trigger inbox)

    \b
    --json prints {"status": "ok", "message": str, "run_id": str}
    """
    client = connect_to_gateway()
    found = client.post("/api/cron/trigger", {"job_id": find_schedule_id(client, id_)})
    output.print_result(found, found["run_id"])


@COMMAND.command("runs")
@click.argument("id_", metavar="ID")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
def list_runs(id_: str, limit: int) -> None:
    """Show the past times of a schedule and their results, newest first, in its own time zone.

    Missed and skipped times are included.

    \b
    Example:
      gateway cron runs inbox

    \b
    --json prints {"runs": [{"scheduled_for", "at", "outcome", "run_id", "run_status", "error"}], "next_cursor"}
    """
    client = connect_to_gateway()
    path = f"/api/cron/{quote_part(find_schedule_id(client, id_))}"
    page = client.get_pages(f"{path}/runs", "runs", limit)
    if current_invocation().json:
        output.print_json(page)
        return
    zone = client.get(path)["job"]["timezone"]
    rows = [
        (
            _format_in_zone(fire["scheduled_for"], zone),
            _format_in_zone(fire["at"], zone),
            fire["outcome"],
            fire["run_status"] or output.shorten_text(fire["error"] or "-", 50),
            fire["run_id"] or "-",
        )
        for fire in page["runs"]
    ]
    output.print_list(("time", "decided", "outcome", "status", "task"), rows, page["next_cursor"])


@COMMAND.command("next")
@click.argument("schedule")
@click.option("--tz", "timezone", metavar="ZONE", help="Time zone, such as Europe/Berlin.  [default: the gateway's]")
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True, help="Number of times to show.")
def show_next_times(schedule: str, timezone: str | None, count: int) -> None:
    """Show the next times of a schedule, in its time zone. Nothing is created.

    Without --tz, the zone is the setting cron.timezone, which is that of the gateway's machine if not set.

    \b
    Example:
      gateway cron next "0 9 * * 1-5" --tz Europe/Berlin

    \b
    --json prints {"schedule": str, "timezone": str, "times": [RFC 3339 in UTC]}
    """
    client = connect_to_gateway()
    try:
        found = client.get("/api/cron/next", schedule=schedule, timezone=timezone, count=count)
    except GatewayError as error:
        with contextlib.suppress(ScheduleNotFound):
            id_ = find_schedule_id(client, schedule)
            remedy = f"To see the next times of a schedule: gateway cron show {id_}"
            raise InvalidRequest(f"{schedule[:64]!r} is a schedule, not an expression.", remedy=remedy) from error
        raise
    if current_invocation().json:
        output.print_json(found)
    else:
        _print_times(found)


def _print_times(found: dict[str, Any], *, talk: bool = False) -> None:
    tell = output.print_note if talk else output.print_text
    for time in found["times"]:
        tell(f"{_format_in_zone(time, found['timezone'])} ({found['timezone']})")


def _format_in_zone(text: str | None, zone: str) -> str:
    """Return an RFC 3339 time as a clock in a time zone shows it; in UTC if this machine does not know the zone."""
    if text is None:
        return "-"
    try:
        known: tzinfo = zoneinfo.ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        known = UTC
    return datetime.fromisoformat(text).astimezone(known).strftime("%a %Y-%m-%d %H:%M:%S %Z")


def _format_next_run(job: dict[str, Any]) -> str:
    """Return the next time of a schedule, and the zone that it is shown in."""
    return f"{_format_in_zone(job['next_run'], job['timezone'])} ({job['timezone']})"


def _describe_target(job: dict[str, Any]) -> str:
    """Return where the results of a schedule are sent; empty if nowhere."""
    chat = job["deliver"]
    targets = [f"{chat['channel']}:{chat['chat_id']}"] if chat else []
    return ", ".join([*targets, *([job["webhook"]] if job["webhook"] else [])])


def _print_schedule(job: dict[str, Any]) -> None:
    zone = job["timezone"]
    next_runs = [_format_in_zone(time, zone) for time in job["next_runs"]]
    budget = ", ".join(f"{value} {name}" for name, value in (job["budget"] or {}).items() if value is not None)
    disabling = f"; {job['max_failures']} disable it" if job["max_failures"] else ""
    rows = [
        ("Schedule", job["id"]),
        ("Name", job["name"]),
        ("Times", job["schedule"]),
        ("Time zone", zone),
        ("Enabled", "yes" if job["enabled"] else f"no: {job['reason']}" if job["reason"] else "no"),
        ("Next", next_runs[0] if next_runs else ""),
        *(("", time) for time in next_runs[1:]),
        ("Agent", job["agentId"] or "the default agent"),
        ("Model", job["model"]),
        ("Session", job["session"] or ("a new one each time" if job["fresh"] else "its own")),
        ("Target", _describe_target(job)),
        ("Misfire", job["misfire"] + (f", at most {job['max_age']:g} s old" if job["max_age"] is not None else "")),
        ("Overlap", job["overlap"]),
        ("Jitter", f"up to {job['jitter']:g} s" if job["jitter"] else ""),
        ("Timeout", f"{job['timeout']:g} s" if job["timeout"] is not None else ""),
        ("Budget", f"{budget} a day" if budget else ""),
        ("Last run", _format_in_zone(job["last_run"], zone)),
        ("Last task", f"{job['last_run_id']} ({job['last_status']})" if job["last_run_id"] else ""),
        ("Failures", f"{job['failures']} in a row{disabling}"),
        ("Missed", job["missed"]),
        ("Skipped", f"{job['skipped']}; last: {job['skip_reason']}" if job["skip_reason"] else job["skipped"]),
        ("Prompt", job["prompt"]),
        *(("Attachment", describe_with_command(file)) for file in job["attachments"]),
    ]
    output.print_fields([(name, value) for name, value in rows if value not in ("", "-", None)])


def _build_body(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options as the body of a request."""
    budget = pop_budget(given)
    body = budget | {name: value for name, value in given.items() if value is not None}
    if "deliver" in body:
        channel, _, chat = body["deliver"].partition(":")
        body["deliver"] = {"channel": channel, "chat_id": chat}
    return body
