"""`gateway export`: writes the files that another system, XCClaw, keeps its data in."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.command import Command
from cli.remote.client import connect_to_gateway

#: XCClaw's files, and the API path that returns the content of each
EXPORTED_FILES = {
    "tasks.json": "/api/xcclaw/task",
    "schedules.json": "/api/xcclaw/schedule",
    "persistent_sessions.json": "/api/xcclaw/persistent",
    "task_history.json": "/api/xcclaw/history?limit=10000",
}


@click.command(cls=Command)
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def COMMAND(directory: Path) -> None:  # noqa: N802 the seam's name
    """Write XCClaw's four files to DIR: tasks, schedules, persistent sessions and the history of tasks.

    DIR is created if it does not exist. Each file is replaced as a whole. If the gateway does not
    answer, no file is changed.

    \b
    Example:
      gateway export ~/Documents/XCDesktop/xcclaw

    \b
    --json prints {"directory": str, "files": {name: number of entries}}
    """
    found = _fetch_entries()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, entries in found.items():
            _replace_file(directory / name, entries)
    except OSError as error:
        raise click.ClickException(f"cannot write to {directory}: {error.strerror}.") from error
    counts = {name: len(entries) for name, entries in found.items()}
    written = "\n".join(f"{directory / name}: {count}" for name, count in counts.items())
    output.print_result({"directory": str(directory), "files": counts}, written)


def _fetch_entries() -> dict[str, list[Any]]:
    client = connect_to_gateway()
    with output.show_waiting("reading from the gateway"):
        return {name: client.get(path) for name, path in EXPORTED_FILES.items()}


def _replace_file(file: Path, entries: list[Any]) -> None:
    """Replace a file as a whole: a reader, also after a crash, finds either the old or the new content."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(entries, out, ensure_ascii=False, indent=2)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
