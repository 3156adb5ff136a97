"""Saves files of the gateway on disk: completely or not at all, and never over another file unless the user says so."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import click

from cli import output
from cli.command import Interrupted
from cli.files.given import SHOWN_PROGRESS_BYTES
from cli.files.shown import describe_file
from cli.remote.client import GatewayClient
from gateway.domain.file import clean_file_name
from gateway.errors import GatewayError


def add_save_option(command: Any) -> Any:
    """Add the option that saves the files that an agent makes."""
    return click.option(
        "--save",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Save the files that the agent makes in this directory. Nothing is overwritten.",
    )(command)


def prepare_directory(directory: Path | None) -> None:
    """Make sure that files can be saved in a directory, before the agent begins to work.

    Raises:
        UsageError: they cannot.
    """
    if directory is None:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        said = f"--save: cannot write to {directory}: {error.strerror}."
        raise click.UsageError(said, click.get_current_context()) from error


def save_made_files(
    client: GatewayClient, files: Iterable[Mapping[str, Any]], directory: Path | None
) -> list[dict[str, Any]]:
    """Save files that an agent has made, and say where. Returns them, each with its `path` if it was saved.

    A name that is taken in the directory gets a number.
    """
    return [
        dict(file) if directory is None else {**file, "path": str(_save_in(client, file, directory))} for file in files
    ]


def _save_in(client: GatewayClient, file: Mapping[str, Any], directory: Path) -> Path:
    first = directory / make_local_name(file)
    for number in itertools.count(2):
        taken = first if number == 2 else first.with_name(f"{first.stem}-{number - 1}{first.suffix}")
        if os.path.lexists(taken):
            continue
        with suppress(FileExistsError):  # somebody was quicker
            save_file(client, file, taken)
            output.print_note(f"Saved {taken}.")
            return taken
    raise AssertionError("the numbers have no end")


def make_local_name(file: Mapping[str, Any]) -> str:
    """Return the name for a file on this machine, whatever the gateway says."""
    return clean_file_name(str(file["name"]))


def save_file(client: GatewayClient, file: Mapping[str, Any], place: Path, *, replace: bool = False) -> None:
    """Save a file of the gateway.

    Args:
        file: as the API shows it.
        replace: whether another file may be there, which it replaces.

    Raises:
        FileExistsError: another file is there.
        ClickException: the disk refuses.
        GatewayError: the gateway does not have it, or sent something else.
        Interrupted: the user pressed Ctrl-C; nothing was saved.
    """
    draft = place.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(draft, "xb", buffering=0) as out:
            receive_file(client, file, lambda piece: _write_piece(out, piece, place))
            os.fsync(out.fileno())
        _put_in_place(draft, place, replace=replace)
    except FileExistsError:
        raise
    except OSError as error:
        raise _explain_error(place, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def receive_file(client: GatewayClient, file: Mapping[str, Any], take: Callable[[bytes], None]) -> None:
    """Receive the content of a file, piece by piece, and check it.

    Args:
        take: called with each piece.

    Raises:
        GatewayError: the gateway does not have it, or sent something else.
        Interrupted: the user pressed Ctrl-C.
    """
    digest, received = hashlib.sha256(), 0
    what = f"receiving {describe_file(file)}"
    with output.show_waiting(what) as waiting:

        def take_piece(piece: bytes) -> None:
            nonlocal received
            take(piece)
            digest.update(piece)
            received += len(piece)
            if file["size"] >= SHOWN_PROGRESS_BYTES:
                waiting.set_text(f"{received * 100 // file['size']} %, {what}")

        try:
            client.download_file(file["id"], take_piece)
        except KeyboardInterrupt:
            raise Interrupted(f"Stopped; {file['name']} was not saved.") from None
    if digest.hexdigest() != file["sha256"]:
        raise GatewayError(
            f"the content of {file['name']} is not what the gateway says that it is.",
            remedy="Restore it from a copy of data/files.",
        )


def _write_piece(out: FileIO, piece: bytes, place: Path) -> None:
    """Write a piece. Its errors are those of the disk, not those of the connection."""
    try:
        while piece:
            piece = piece[out.write(piece) :]
    except OSError as error:
        raise _explain_error(place, error) from error


def _put_in_place(draft: Path, place: Path, *, replace: bool) -> None:
    if replace:
        draft.replace(place)
        return
    try:
        os.link(draft, place)  # unlike a rename, it never replaces
    except FileExistsError:
        raise
    except OSError:  # the file system has no links
        place.touch(exist_ok=False)
        draft.replace(place)


def _explain_error(place: Path, error: OSError) -> click.ClickException:
    return click.ClickException(f"cannot write {place}: {error.strerror or error}.")
