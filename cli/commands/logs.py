"""`gateway logs`: prints the last lines of the log, and follows it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cli import output
from cli.arguments import Moment
from cli.command import Command, current_invocation
from cli.instance import Instance
from cli.remote.link import find_elsewhere
from gateway import log_reader, paths, private_file
from gateway.errors import ConfigError

#: seconds between two reads of a file that is followed
LOG_POLL_SECONDS = 0.25
#: lines that are shown of a time or a task
MAX_LINES = 1_000_000


@click.command(cls=Command)
@click.option(
    "--lines", type=click.IntRange(0), default=50, help="Most lines to show.  [default: 50; all with --since or --task]"
)
@click.option("--since", type=Moment(), metavar="TIME", help="Only lines since then: 2h (ago), or a date or time.")
@click.option("--task", metavar="ID", help="Only lines about this task; a part of its ID is enough.")
@click.option("--follow", "-f", is_flag=True, help="Show new lines until Ctrl-C, also across restarts.")
@click.option(
    "--level",
    type=click.Choice(log_reader.LEVEL_NAMES),
    default="debug",
    show_default=True,
    help="Lowest level to show.",
)
def COMMAND(  # noqa: N802 the seam's name
    lines: int, since: datetime | None, task: str | None, follow: bool, level: str
) -> None:
    """Show the last lines of the gateway's log. The gateway need not run, unless it is elsewhere.

    \b
    Examples:
      gateway logs --since 2h --level warning
      gateway logs --task 73F9KQ
      gateway logs --follow

    \b
    --json prints the lines as they are in the file: objects with "time", "level", "event" and
    the fields of the event. A line that is not JSON becomes {"event": line}.
    """
    show = _print_json if current_invocation().json else _print_readable
    source = click.get_current_context().get_parameter_source("lines")
    if source is ParameterSource.DEFAULT and (since is not None or task is not None):
        lines = MAX_LINES
    wanted = _choose_lines(since, task)
    if find_elsewhere() is not None:
        from cli.remote.remote_reports import read_log_lines  # late: it imports the client

        chosen = (line for line in read_log_lines(lines, follow, level) if wanted(line))
    else:
        chosen = _read_lines(_find_log(), lines, follow, level, wanted)
    with contextlib.closing(chosen):
        for line in chosen:
            show(line)


def _find_log() -> Path:
    """Return the log file of this machine's gateway; say so if there is none yet."""
    instance = Instance.from_environment(current_invocation().merged_environment)
    file = paths.log_file(instance.home, instance.config)
    _check_kind(file)
    if not file.exists():
        from cli.service import lookup  # late: it imports the settings

        output.print_note(f"There is no log yet: {output.shorten_home(file)}")
        if (manager := lookup.find_installed(instance)) is not None:
            output.print_note(f"To see what the service printed before it could log: {manager.journal_command}")
    return file


def _check_kind(file: Path) -> None:
    """Refuse something else in the place of the log.

    Raises:
        ConfigError: it is no plain file; the message names it.
    """
    with contextlib.suppress(OSError):
        if (kind := private_file.describe_kind(file.stat().st_mode)) is not None:
            shown = output.shorten_home(file)
            raise ConfigError(f"cannot read {shown}: it is {kind}, not a plain file.", remedy="Move it away.")


def _choose_lines(since: datetime | None, task: str | None) -> Callable[[bytes], bool]:
    """Return a function that tells of a line whether it is since a time, and about a task."""
    part = task and task.upper()

    def is_wanted(line: bytes) -> bool:
        record = _parse_record(line)
        if part is not None and part not in str(record.get("run", "")).upper():
            return False
        return since is None or _is_since(str(record.get("time", "")), since)

    return bool if since is None and task is None else is_wanted


def _is_since(at: str, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(at) >= since
    except (ValueError, TypeError):  # no time, or one without a zone: nobody knows
        return False


def _read_lines(
    file: Path, lines: int, follow: bool, level: str, wanted: Callable[[bytes], bool]
) -> Generator[bytes, None, None]:
    """Yield the last lines of at least a level, then new lines if `follow` is set."""
    with contextlib.ExitStack() as stack:
        follower = stack.enter_context(contextlib.closing(log_reader.LogFollower(file))) if follow else None
        if lines:
            yield from log_reader.read_last_lines(file, lines, level, wanted)
        while follower is not None:
            new = follower.read_new_lines()
            yield from (line for line in new if log_reader.has_level(line, level) and wanted(line))
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
