"""`gateway files`: lists, sends, gets and removes files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.command import Group, current_invocation
from cli.files.given import GivenPath, check_inputs, send_files
from cli.files.saving import make_local_name, receive_file, save_file
from cli.files.shown import describe_file
from cli.remote.client import GatewayClient, connect_to_gateway, quote_part
from gateway.domain.file import describe_size
from gateway.errors import GatewayError

#: stands for standard output
STANDARD_OUTPUT = Path("-")


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """List, send, get and remove files: those that came with messages, and those that agents made.

    For the ID of a file, any part that no other file's ID has is enough. The last characters are
    best: IDs of the same days begin alike. To send a file with a message, see gateway agent --help.

    \b
    Examples:
      gateway files list
      gateway files get 73F9KQ

    \b
    With --json, a file is {"id", "name", "media_type", "size": in bytes, "sha256"}
    """


@COMMAND.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
def list_files(limit: int) -> None:
    """List files, newest first.

    USES is how many tasks, messages and schedules refer to a file. One without any is removed after a
    while: see the setting retention.unused_files_days.

    \b
    Example:
      gateway files list --limit 10

    \b
    --json prints
      {"files": [{file, "uses": int, "created_at"}], "next_cursor": str or null,
       "space": {"used", "quota", "size", "message_size": in bytes, "per_message": int}}
    """
    client = connect_to_gateway()
    page = client.get_pages("/api/files", "files", limit)
    space = client.get("/api/files", limit=1)["space"]
    if current_invocation().json:
        output.print_json({**page, "space": space})
        return
    rows = [
        (
            file["id"],
            file["name"],
            file["media_type"],
            describe_size(file["size"]),
            file["uses"],
            output.format_time(file["created_at"]),
        )
        for file in page["files"]
    ]
    output.print_list(("file", "name", "type", "size", "uses", "created"), rows, page["next_cursor"])
    output.print_note(f"All files take {describe_size(space['used'])} of {describe_size(space['quota'])}.")


@COMMAND.command("add")
@click.argument("files", metavar="FILE...", type=GivenPath(), nargs=-1, required=True)
def add_files(files: tuple[str, ...]) -> None:
    """Send files to the gateway and print their ids. By then they are on disk.

    - is standard input. Refer to the files in attachments of POST /api/agent and other requests soon:
    without a use, they are removed after a while.

    \b
    Example:
      gateway files add report.pdf

    \b
    --json prints {"files": [file]}
    """
    check_inputs(files)
    sent = send_files(connect_to_gateway(), files, together=False)
    output.print_result({"files": sent}, "\n".join(file["id"] for file in sent))


@COMMAND.command("get")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--output",
    "place",
    metavar="PATH",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File or directory to save it in; - is standard output.  [default: its name, in the current directory]",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def get_files(ids: tuple[str, ...], place: Path | None, force: bool) -> None:
    """Save files on disk, and print where.

    A file appears under its name when it is complete. For several files, PATH is a directory, which is
    made if it does not exist.

    \b
    Examples:
      gateway files get 73F9KQ
      gateway files get 73F9KQ 8B2VXM --output charts
      gateway files get 73F9KQ --output - | less

    \b
    --json prints {"files": [{file as in list, "path": str}]}; with --output - nothing but the file is printed
    """
    client = connect_to_gateway()
    files = [client.get(f"/api/files/{quote_part(id_)}/info")["file"] for id_ in ids]
    if place == STANDARD_OUTPUT:
        _print_content(client, files)
        return
    saved = []
    for file, target in zip(files, _choose_places(files, place, force=force), strict=True):
        try:
            save_file(client, file, target, replace=force)
        except FileExistsError:
            raise _refuse_taken(target) from None
        saved.append({**file, "path": str(target)})
    output.print_result({"files": saved}, "\n".join(file["path"] for file in saved))


@COMMAND.command("remove")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def remove_files(ids: tuple[str, ...]) -> None:
    """Remove files to which no task, message or schedule refers.

    Those that cannot be removed are named with the reason, and the exit code is 1.

    \b
    Example:
      gateway files remove 73F9KQ

    \b
    --json prints {"status": "ok", "removed": [id]}
    """
    client = connect_to_gateway()
    removed: list[str] = []
    refused: list[GatewayError] = []
    for id_ in ids:
        try:
            file = client.get(f"/api/files/{quote_part(id_)}/info")["file"]
            client.delete(f"/api/files/{file['id']}")
            removed.append(file["id"])
        except GatewayError as error:
            refused.append(error)
    if refused:
        for id_ in removed:
            output.print_note(f"Removed {id_}.")
        for earlier in refused[:-1]:
            output.print_error(earlier.message)
        raise refused[-1]
    output.print_result({"status": "ok", "removed": removed}, "\n".join(f"Removed {id_}." for id_ in removed))


def _choose_places(files: Sequence[dict[str, Any]], place: Path | None, *, force: bool) -> list[Path]:
    """Return where to save files. A directory for several is made.

    Raises:
        UsageError: several need a directory.
        ClickException: other files are there.
    """
    directory = Path() if place is None else place
    if len(files) > 1 and not directory.exists():
        directory.mkdir(parents=True)
    if len(files) == 1 and place is not None and not place.is_dir():
        places = [place]
    elif directory.is_dir():
        places = [directory / make_local_name(file) for file in files]
    else:
        raise click.UsageError(f"{place} is no directory: several files need one.", click.get_current_context())
    for target in places:
        if places.count(target) > 1:
            said = f"several of the files are called {target.name}: get them one by one, with --output."
            raise click.UsageError(said, click.get_current_context())
        if not force and target.exists():
            raise _refuse_taken(target)
    return places


def _refuse_taken(target: Path) -> click.ClickException:
    return click.ClickException(f"{target} is there already. Replace it with --force, or use --output.")


def _print_content(client: GatewayClient, files: Sequence[dict[str, Any]]) -> None:
    """Write the content of files to standard output, one after the other."""
    if sys.stdout.isatty():
        said = f"{describe_file(files[0])} would go to the terminal. Use a pipe, or --output FILE."
        raise click.UsageError(said, click.get_current_context())
    for file in files:
        receive_file(client, file, output.print_bytes)
