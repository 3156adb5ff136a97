"""Receives the files of a conversation: those of the newest message must be right; of earlier ones, what can be had."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from gateway.api.compat.openai import parts
from gateway.api.compat.openai.parts import FilePart, Inline, Remote, Stored
from gateway.api.compat.openai.prompt import Conversation, Notes, Numbered, Place
from gateway.api.routing import Call
from gateway.domain.file import File, clean_file_name
from gateway.engine.file_staging import Staging
from gateway.errors import FileUnknown, GatewayError, InvalidRequest

#: files of earlier messages that are looked at, the newest first
MAX_TRIED_FILES = 100
#: seconds that it may take to fetch all files of the newest message, and all of earlier ones
FETCH_SECONDS, EARLIER_FETCH_SECONDS = 15.0, 5.0


class Received(NamedTuple):
    """The files of a conversation."""

    #: in the order of the conversation
    files: tuple[File, ...]
    #: what to tell the agent of each file that a message had
    notes: Notes


class _Found(NamedTuple):
    """A file that a message has."""

    place: Place
    #: why its part cannot be understood, if it cannot
    part: FilePart | InvalidRequest
    #: what people call it
    noun: str
    #: its number among those that are called so
    number: int


async def receive_files(call: Call[Any, Any], talk: Conversation, staging: Staging, field: str) -> Received:
    """Stage the files of a conversation: those of the newest message, then older ones as far as the limits allow.

    Args:
        field: the field of the request that the messages come from, for errors.

    Raises:
        InvalidRequest: a file of the newest message cannot be used.
        TooLarge: the newest message has too many files, or too large ones.
        StorageFull, Unavailable: the disk has no room for them.
    """
    found = list(_find_files([*talk.before, *talk.asked], field))
    newest = talk.asked[-1].number
    receiver = _Receiver(call, staging, FETCH_SECONDS)
    files: dict[Place, File] = {}
    for one in found:
        if one.place.message == newest:
            files[one.place] = await _receive_required(receiver, one)
    receiver = _Receiver(call, staging, EARLIER_FETCH_SECONDS)
    older = (one for one in reversed(found) if one.place.message != newest)
    for one in islice(older, MAX_TRIED_FILES):
        if len(staging.files) >= call.engine.files.limits.per_message:
            break
        if (file := await _receive_optional(receiver, one)) is not None:
            files[one.place] = file
    notes = {one.place: _describe_found(one, files.get(one.place)) for one in found}
    return Received(tuple(files[place] for place in sorted(files)), notes)


def _find_files(messages: list[Numbered], field: str) -> Iterator[_Found]:
    """Yield the files of messages, in their order. Nothing is decoded."""
    seen: Counter[str] = Counter()
    for number, message in messages:
        where = f"{field}[{number}]"
        if (picture := parts.read_picture_item(message, where)) is not None:
            seen[picture.noun] += 1
            yield _Found(Place(number), picture, picture.noun, seen[picture.noun])
        for at, part in enumerate(message.content if isinstance(message.content, list) else ()):
            if parts.is_file_part(part):
                noun = parts.FILE_NOUNS[part["type"]]
                seen[noun] += 1
                yield _Found(Place(number, at), _read_part(part, f"{where}.content[{at}]"), noun, seen[noun])


def _read_part(part: dict[str, Any], where: str) -> FilePart | InvalidRequest:
    try:
        return parts.read_file_part(part, where)
    except InvalidRequest as error:
        return error


async def _receive_required(receiver: _Receiver, found: _Found) -> File:
    """Stage a file, or raise an error that names the field of the request."""
    if isinstance(found.part, InvalidRequest):
        raise found.part
    where = found.part.where
    try:
        return await receiver.receive(found.part, found.number)
    except FileUnknown as error:
        raise InvalidRequest(f"{where}: {error.message}", details={"param": where}) from error
    except GatewayError as error:
        error.message = f"{where}: {error.message}"
        error.details["param"] = where
        raise


async def _receive_optional(receiver: _Receiver, found: _Found) -> File | None:
    """Stage a file of an earlier message; return None if that is not possible, whatever the reason."""
    if isinstance(found.part, InvalidRequest):
        return None
    try:
        return await receiver.receive(found.part, found.number)
    except GatewayError:
        return None


class _Receiver:
    """Stages files, wherever their content is."""

    def __init__(self, call: Call[Any, Any], staging: Staging, fetch_seconds: float) -> None:
        """Args:
        fetch_seconds: how long it may take to fetch all files that are on other servers.
        """
        self._fetcher = call.server.file_fetcher
        self._staging = staging
        self._fetch_until = asyncio.get_running_loop().time() + fetch_seconds

    async def receive(self, part: FilePart, number: int) -> File:
        match part.content:
            case Stored(id=file_id):
                return await self._staging.add_stored(file_id)
            case Remote(url=url):
                return await self._fetch(part, number, url)
            case Inline() as content:
                return await self._staging.add_stream(
                    parts.decode_content(content),
                    name=part.choose_name(number),
                    media_type=part.media_type,
                    size=content.size,
                )

    async def _fetch(self, part: FilePart, number: int, url: str) -> File:
        if self._fetcher is None:
            raise InvalidRequest(
                "files are not fetched from other servers.", remedy="Send a data URL, or set files.fetch."
            )
        left = max(0.0, self._fetch_until - asyncio.get_running_loop().time())
        async with self._fetcher.open_file(url, left) as fetched:
            return await self._staging.add_stream(
                fetched.pieces,
                name=part.name or fetched.name or part.choose_name(number),
                media_type=fetched.media_type,
                size=fetched.size,
            )


def _describe_found(found: _Found, file: File | None) -> str:
    """Return what to tell the agent of a file."""
    part = found.part
    if file is not None:
        return f"[{found.noun}: {file.name}, attached]"
    name = clean_file_name(part.name) if isinstance(part, FilePart) and part.name else ""
    return f"[{found.noun}: {name}, not attached]" if name else f"[{found.noun}]"
