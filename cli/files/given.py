"""The files that a user gives to a command: looked at before anything is sent, then sent to the gateway."""

from __future__ import annotations

import codecs
import mimetypes
import os
import select
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import click

from cli import output
from cli.command import Interrupted
from cli.remote.client import FILE_PIECE_BYTES, GatewayClient
from cli.remote.connection import READ_POLL_SECONDS
from gateway.domain.file import describe_size
from gateway.domain.media_type import SNIFFED_BYTES, find_media_type
from gateway.errors import FileUnknown, NotFound

#: the word that stands for standard input
STANDARD_INPUT = "-"
#: bytes from which the progress of a file is told
SHOWN_PROGRESS_BYTES = 1_000_000


class GivenFile(NamedTuple):
    """A file that is open, and can be read more than once."""

    name: str
    content: BinaryIO
    #: in bytes
    size: int


class GivenPath(click.Path):
    """A file that can be read, or `-` for standard input."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, readable=True, allow_dash=True)


def add_file_option(command: Any) -> Any:
    """Add the option that names files of a message."""
    return click.option(
        "--file",
        "files",
        metavar="FILE",
        type=GivenPath(),
        multiple=True,
        help="File to send along; - is standard input. May be repeated.",
    )(command)


def check_inputs(files: Sequence[str], text: str | None = "") -> None:
    """Refuse to read standard input twice.

    Args:
        text: the text of the message, if it has one: without it, or as `-`, it is standard input.

    Raises:
        UsageError: two of these are standard input.
    """
    readers = files.count(STANDARD_INPUT)
    if readers and text in (None, STANDARD_INPUT):
        said = "the file - is standard input, so the text cannot come from there, too: give it as an argument."
        raise click.UsageError(said, click.get_current_context())
    if readers > 1:
        raise click.UsageError("standard input can be only one of the files.", click.get_current_context())


def attach_files(client: GatewayClient, paths: Sequence[str]) -> list[dict[str, str]] | None:
    """Send the files of a message. Returns what its field `attachments` says; None if there are none.

    A message that is not sent after all leaves files to which nothing refers: the gateway deletes them.

    Raises:
        UsageError: one cannot be sent; no other was sent either.
        GatewayError: the gateway refused one.
        Interrupted: the user pressed Ctrl-C.
    """
    return [{"file": file["id"]} for file in send_files(client, paths, together=True)] or None


def send_files(client: GatewayClient, paths: Sequence[str], *, together: bool) -> list[dict[str, Any]]:
    """Send files. Returns them as the gateway shows them.

    Args:
        together: whether they are the files of one message.

    Raises: as `attach_files`.
    """
    if not paths:
        return []
    try:
        space: Mapping[str, int] = client.get("/api/files", limit=1)["space"]
    except FileUnknown:
        raise
    except NotFound as error:
        said = "the gateway that runs takes no files: its version is older than that of this command."
        raise NotFound(said, remedy="gateway restart") from error
    try:
        with ExitStack() as stack:
            given = [stack.enter_context(_open_given(path, space["size"])) for path in paths]
            if together:
                _check_together(given, space)
            return [_send_file(client, file) for file in given]
    except KeyboardInterrupt:
        said = "Stopped while files were sent. Nothing uses them: the gateway removes them after a while."
        raise Interrupted(said) from None


def _send_file(client: GatewayClient, file: GivenFile) -> dict[str, Any]:
    what = f"sending {file.name} ({describe_size(file.size)})"
    with output.show_waiting(what) as waiting:

        def show(sent: int) -> None:
            if file.size >= SHOWN_PROGRESS_BYTES:
                waiting.set_text(f"{sent * 100 // file.size} %, {what}")

        sent: dict[str, Any] = client.upload_file(file.name, file.content, file.size, show)["file"]
        return sent


# --- opening ----------------------------------------------------------------------------------


@contextmanager
def _open_given(path: str, limit: int) -> Iterator[GivenFile]:
    """Open a file that the user named. What can be read only once, such as a pipe, is copied first.

    Args:
        limit: bytes that a file may have.

    Raises:
        UsageError: it cannot be read, or is too large.
    """
    try:
        with ExitStack() as stack:
            if path == STANDARD_INPUT:
                yield stack.enter_context(_copy_stream(sys.stdin.buffer, "stdin", limit))
                return
            content = stack.enter_context(open(path, "rb"))
            found, name = os.fstat(content.fileno()), Path(path).name
            if not stat.S_ISREG(found.st_mode) or found.st_size == 0:  # such as those in /proc
                yield stack.enter_context(_copy_stream(content, name, limit))
                return
            if found.st_size > limit:
                _refuse_size(name, describe_size(found.st_size), limit)
            yield GivenFile(name, content, found.st_size)
    except OSError as error:
        said = f"cannot read {path}: {error.strerror or error}."
        raise click.UsageError(said, click.get_current_context()) from error


@contextmanager
def _copy_stream(stream: BinaryIO, name: str, limit: int) -> Iterator[GivenFile]:
    """Copy what a stream says to a temporary file, which is gone when the block ends."""
    with tempfile.TemporaryFile() as copy:
        size, beginning = 0, b""
        while piece := _read_piece(stream.fileno()):
            size += len(piece)
            if size > limit:
                _refuse_size(name, f"more than {describe_size(limit)}", limit)
            beginning += piece[: SNIFFED_BYTES - len(beginning)]
            copy.write(piece)
        yield GivenFile(_name_stream(name, beginning), copy, size)


def _read_piece(descriptor: int) -> bytes:
    """Return the next piece of a stream; empty at its end. Ctrl-C always interrupts: see `cli.remote.connection`."""
    while sys.platform != "win32" and not select.select([descriptor], [], [], READ_POLL_SECONDS)[0]:
        continue
    return os.read(descriptor, FILE_PIECE_BYTES)


def _name_stream(name: str, beginning: bytes) -> str:
    """Return the name of a stream with the ending of what it says, if it has none."""
    if Path(name).suffix:
        return name
    media_type = find_media_type("", "", beginning)
    is_text = _is_text(beginning) and media_type != "application/pdf"
    return name + (".txt" if is_text else mimetypes.guess_extension(media_type) or "")


def _is_text(beginning: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in beginning


def _check_together(given: Sequence[GivenFile], space: Mapping[str, int]) -> None:
    if len(given) > space["per_message"]:
        said = f"a message may have {space['per_message']} files, and you give {len(given)}."
        raise click.UsageError(f"{said} The setting files.per_message allows more.", click.get_current_context())
    if (total := sum(file.size for file in given)) > space["message_size"]:
        said = f"the files have {describe_size(total)} together; those of a message may have"
        said += f" {describe_size(space['message_size'])}. The setting files.message_size allows more."
        raise click.UsageError(said, click.get_current_context())


def _refuse_size(name: str, size: str, limit: int) -> None:
    said = f"{name} has {size}; a file may have {describe_size(limit)}. The setting files.size allows more."
    raise click.UsageError(said, click.get_current_context())
