"""`gateway logs`: prints the last lines of the log, and follows it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.command import Command, current_invocation
from cli.instance import Instance
from gateway import log_reader, paths

#: seconds between two reads of a file that is followed
LOG_POLL_SECONDS = 0.25


@click.command(cls=Command)
@click.option("--lines", type=click.IntRange(0), default=50, show_default=True, help="Number of lines to show.")
@click.option("--follow", "-f", is_flag=True, help="Show new lines until Ctrl-C, also across restarts.")
@click.option(
    "--level",
    type=click.Choice(log_reader.LEVEL_NAMES),
    default="debug",
    show_default=True,
    help="Lowest level to show.",
)
def COMMAND(lines: int, follow: bool, level: str) -> None:  # noqa: N802 the seam's name
    """Show the last lines of the gateway's log. The gateway need not run.

    \b
    Examples:
      gateway logs --lines 100 --level warning
      gateway logs --follow

    \b
    --json prints the lines as they are in the file: objects with "time", "level", "event" and
    the fields of the event. A line that is not JSON becomes {"event": line}.
    """
    instance = Instance.from_environment(current_invocation().merged_environment)
    file = paths.log_file(instance.home, instance.config)
    if not file.exists():
        from cli.service import lookup  # late: it imports the settings

        output.print_note(f"There is no log yet: {output.shorten_home(file)}")
        if (manager := lookup.find_installed(instance)) is not None:
            output.print_note(f"To see what the service printed before it could log: {manager.journal_command}")
    show = _print_json if current_invocation().json else _print_readable
    with contextlib.closing(_read_lines(file, lines, follow, level)) as chosen:
        for line in chosen:
            show(line)


def _read_lines(file: Path, lines: int, follow: bool, level: str) -> Generator[bytes, None, None]:
    """Yield the last lines of at least a level, then new lines if `follow` is set."""
    with contextlib.ExitStack() as stack:
        follower = stack.enter_context(contextlib.closing(log_reader.LogFollower(file))) if follow else None
        if lines:
            yield from log_reader.read_last_lines(file, lines, level)
        while follower is not None:
            yield from (line for line in follower.read_new_lines() if log_reader.has_level(line, level))
            time.sleep(LOG_POLL_SECONDS)


def _parse_record(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"event": line.decode("utf-8", "replace")}


def _print_json(line: bytes) -> None:
    output.print_json_line(_parse_record(line))


def _print_readable(line: bytes) -> None:
    """Print a line for people: local time, level, event, then the other fields."""
    record = _parse_record(line)
    at, level, event = (str(record.pop(name, "")) for name in ("time", "level", "event"))
    trace = record.pop("exception", None)
    rest = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in record.items())
    output.print_text(f"{_format_local_time(at)} {level:<7} {event} {rest}".strip())
    if trace:
        output.print_text(str(trace))


def _format_local_time(at: str) -> str:
    try:
        return output.format_time(at)
    except ValueError:
        return at
