"""Fetches the files of a chat message. One that cannot be had is left out, and the input of the run says so."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from gateway.domain.file import File, clean_file_name, describe_size
from gateway.domain.inbound import FileNotFetched, IncomingFile
from gateway.engine.file_staging import Staging
from gateway.errors import FileUnknown, QuotaFull, TooLarge

_NOTE_START = "(Not attached: "


async def stage_incoming(staging: Staging, given: Sequence[IncomingFile | File]) -> list[str]:
    """Fetch files into a staging. Returns which are left out, and why.

    Raises:
        StorageFull, Unavailable: the disk refuses.
        Exception: what a file's `open_stream` raises, except `FileNotFetched`.
    """
    left_out = []
    for file in given:
        try:
            await _stage_file(staging, file)
        except TooLarge as error:
            left_out.append(f"{_describe(file)}: too large: {error.message.rstrip('.')}")
        except QuotaFull as error:
            left_out.append(f"{_describe(file)}: {explain_quota(error)}")
        except FileUnknown as error:
            left_out.append(f"{_describe(file)}: {error.message.rstrip('.')}")
        except FileNotFetched as error:
            left_out.append(f"{_describe(file)}: {error}")
    return left_out


async def _stage_file(staging: Staging, file: IncomingFile | File) -> None:
    if isinstance(file, File):
        await staging.add_stored(file.id)
        return
    async with aclosing(file.open_stream()) as pieces:
        await staging.add_stream(pieces, name=file.name, media_type=file.media_type, size=file.size)


def describe_staged(staging: Staging, why: str) -> list[str]:
    """Return lines that say why the new files of a staging are left out."""
    return [f"{_describe(one.file)}: {why}" for one in staging.staged]


def explain_quota(error: QuotaFull) -> str:
    """Return why there is no room for a file, without what became of the rest of its message."""
    return f"no room: {error.message.partition(':')[0].rstrip('.')}"


def _describe(file: IncomingFile | File) -> str:
    name = clean_file_name(file.name)
    return name if file.size is None else f"{name} ({describe_size(file.size)})"


def add_notes(content: str, left_out: Sequence[str]) -> str:
    """Return an input that also says which files of the message are not attached."""
    return "\n\n".join([content, *(f"{_NOTE_START}{reason})" for reason in left_out)])


def copy_notes(source: str, content: str) -> str:
    """Return an input with the notes about files that another input of the same message has."""
    notes = [part for part in source.split("\n\n") if part.startswith(_NOTE_START)]
    return "\n\n".join([content, *notes])
