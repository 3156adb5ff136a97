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
from cli.command import Command, current
from cli.instance import Place
from gateway import log_reader, paths

#: seconds between two reads of a file that is followed
LOOK = 0.25


@click.command(cls=Command)
@click.option("--lines", type=click.IntRange(0), default=50, show_default=True, help="Number of lines to show.")
@click.option("--follow", "-f", is_flag=True, help="Show new lines until Ctrl-C, also across restarts.")
@click.option(
    "--level", type=click.Choice(log_reader.LEVELS), default="debug", show_default=True, help="Lowest level to show."
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
    instance = Place.of(current().environment)
    file = paths.log_file(instance.home, instance.config)
    if not file.exists():
        from cli.service import lookup  # late: it imports the settings

        output.talk(f"There is no log yet: {output.home(file)}")
        if (manager := lookup.installed(instance)) is not None:
            output.talk(f"To see what the service printed before it could log: {manager.journal}")
    show = _as_json if current().json else _readable
    with contextlib.closing(_chosen(file, lines, follow, level)) as chosen:
        for line in chosen:
            show(line)


def _chosen(file: Path, lines: int, follow: bool, level: str) -> Generator[bytes, None, None]:
    """Yield the last lines of at least a level, then new lines if `follow` is set."""
    with contextlib.ExitStack() as stack:
        follower = stack.enter_context(contextlib.closing(log_reader.Follower(file))) if follow else None
        if lines:
            yield from log_reader.tail(file, lines, level)
        while follower is not None:
            yield from (line for line in follower.read() if log_reader.at_least(line, level))
            time.sleep(LOOK)


def _record(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"event": line.decode("utf-8", "replace")}


def _as_json(line: bytes) -> None:
    output.line(_record(line))


def _readable(line: bytes) -> None:
    """Print a line for people: local time, level, event, then the other fields."""
    record = _record(line)
    at, level, event = (str(record.pop(name, "")) for name in ("time", "level", "event"))
    trace = record.pop("exception", None)
    rest = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in record.items())
    output.show(f"{_local(at)} {level:<7} {event} {rest}".strip())
    if trace:
        output.show(str(trace))


def _local(at: str) -> str:
    try:
        return output.moment(at)
    except ValueError:
        return at
