"""`gateway export`: what other systems keep in files, written as those files."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.command import Command
from cli.remote.client import connect

#: XCClaw's files, and which of its calls tells what is in each
FILES = {
    "tasks.json": "/api/xcclaw/task",
    "schedules.json": "/api/xcclaw/schedule",
    "persistent_sessions.json": "/api/xcclaw/persistent",
    "task_history.json": "/api/xcclaw/history?limit=10000",
}


@click.command(cls=Command)
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def COMMAND(directory: Path) -> None:  # noqa: N802 the seam's name
    """Write XCClaw's four files to DIR: tasks, schedules, persistent sessions and the history of tasks.

    DIR is made if need be. Each file is replaced in one piece; none is, if the gateway does not answer.

    \b
    Example:
      gateway export ~/Documents/XCDesktop/xcclaw

    \b
    --json prints {"directory": str, "files": {name: number of entries}}
    """
    found = _fetch()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, entries in found.items():
            _replace(directory / name, entries)
    except OSError as error:
        raise click.ClickException(f"cannot write to {directory}: {error.strerror}.") from error
    counts = {name: len(entries) for name, entries in found.items()}
    written = "\n".join(f"{directory / name}: {count}" for name, count in counts.items())
    output.result({"directory": str(directory), "files": counts}, written)


def _fetch() -> dict[str, list[Any]]:
    client = connect()
    with output.waiting("Reading"):
        return {name: client.get(path) for name, path in FILES.items()}


def _replace(file: Path, entries: list[Any]) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the new one whole."""
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
