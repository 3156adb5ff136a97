"""`gateway export`: writes the files that another system, XCClaw, keeps its data in, and the files of messages."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.command import Command
from cli.files.saving import make_local_name, save_file
from cli.remote.client import GatewayClient, connect_to_gateway
from gateway.domain.file import clean_file_name
from gateway.errors import FileUnknown

#: XCClaw's files, and the API path that returns the content of each
EXPORTED_FILES = {
    "tasks.json": "/api/xcclaw/task",
    "schedules.json": "/api/xcclaw/schedule",
    "persistent_sessions.json": "/api/xcclaw/persistent",
    "task_history.json": "/api/xcclaw/history?limit=10000",
}

#: most files that go along
MAX_EXPORTED_FILES = 10_000_000


@click.command(cls=Command)
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--no-files", is_flag=True, help="Leave out the files of messages and answers.")
def COMMAND(directory: Path, no_files: bool) -> None:  # noqa: N802 the seam's name
    """Write XCClaw's four files to DIR: tasks, schedules, persistent sessions and the history of tasks.

    The files that came with messages and that agents made go along: their contents to DIR/files, each
    in a directory that is called as its id, and what is known of them to DIR/files.json. Contents that
    are there already stay.

    DIR is created if it does not exist. Each file is replaced as a whole. If the gateway does not
    answer, no file is changed.

    \b
    Example:
      gateway export ~/Documents/XCDesktop/xcclaw

    \b
    --json prints {"directory": str, "files": {name: number of entries}}
    """
    client = connect_to_gateway()
    found = _fetch_entries(client)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not no_files:
            found["files.json"] = _save_contents(client, directory / "files")
        for name, entries in found.items():
            _replace_file(directory / name, entries)
    except OSError as error:
        raise click.ClickException(f"cannot write to {directory}: {error.strerror}.") from error
    counts = {name: len(entries) for name, entries in found.items()}
    written = "\n".join(f"{directory / name}: {count}" for name, count in counts.items())
    output.print_result({"directory": str(directory), "files": counts}, written)


def _fetch_entries(client: GatewayClient) -> dict[str, list[Any]]:
    with output.show_waiting("reading from the gateway"):
        return {name: client.get(path) for name, path in EXPORTED_FILES.items()}


def _save_contents(client: GatewayClient, directory: Path) -> list[dict[str, Any]]:
    """Save the contents of all files that are not there yet. Returns what is known of the files, newest first."""
    listed: list[dict[str, Any]] = client.get_pages("/api/files", "files", MAX_EXPORTED_FILES)["files"]
    kept = []
    for file in listed:
        place = directory / clean_file_name(file["id"]) / make_local_name(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not place.exists():  # a file of the gateway never changes
                save_file(client, file, place)
            kept.append(file)
        except FileUnknown:  # it was deleted in the meantime
            place.parent.rmdir()
    return kept


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
