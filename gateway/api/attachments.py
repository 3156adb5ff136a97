"""The files of a message in JSON: named by the id of a stored file, or given as base64."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Annotated, Any, NamedTuple

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.body import MAX_INCOMING_BYTES, BodyLimit
from gateway.api.routing import Call, ServerContext
from gateway.domain.file import File
from gateway.domain.ports.file_store import StagedFile
from gateway.engine.file_staging import Staging
from gateway.errors import GatewayError, InvalidRequest, TooLarge


class Attachment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of a message: one that is stored, or a new one."""

    #: id of a stored file, which `POST /api/files` has answered; nothing else is needed then
    file: Annotated[str, Meta(min_length=1, max_length=26)] | None = None
    #: name of a new file
    name: Annotated[str, Meta(max_length=1000)] | None = None
    #: its type, such as `image/png`; found out when left out
    media_type: Annotated[str, Meta(max_length=127)] | None = None
    #: its content, in base64
    data: bytes | None = None


#: the files of a message
Attachments = Annotated[
    list[Attachment], Meta(max_length=100, description="Files for the agent: stored ones by id, or new ones.")
]

#: whether the agent is told where to put files
WantsFiles = Annotated[
    bool,
    Meta(description="Whether the agent is told where to put files that you want; those of a chat always are."),
]


def limit_body_with_files(request: web.Request, server: ServerContext) -> BodyLimit:
    """Return how long a body may be that has files in it, as base64.

    No longer than what may be in memory, whatever the settings say: larger files are uploaded.
    """
    size = server.config.limits.body + _encoded_size(server.config.files.message_size)
    return BodyLimit(size, "files.message_size") if size <= MAX_INCOMING_BYTES else BodyLimit(MAX_INCOMING_BYTES, None)


def _encoded_size(size: int) -> int:
    """Return the bytes of so many in base64, with the JSON around them; some clients write `\\/` for each slash."""
    return size * 11 // 8 + 64 * 1024


class ReceivedFiles(NamedTuple):
    """The files of a message."""

    files: tuple[File, ...] = ()
    #: those that are not stored yet
    staged: tuple[StagedFile, ...] = ()


def receive_attachments(
    call: Call[Any, Any], given: Sequence[Attachment] | UnsetType | None, *, max_text: int | None = None
) -> AbstractAsyncContextManager[ReceivedFiles]:
    """Return the files of a message for an `async with` block, in which its run is submitted.

    Args:
        max_text: bytes that the body may have without its files; `limits.body` when not given.

    Raises:
        InvalidRequest: one is neither a stored file nor a new one.
        FileUnknown: a stored one is not there.
        TooLarge: there are too many, or they are too large, or the rest of the body is.
        StorageFull, Unavailable: the disk has no room for them.
    """
    files = given or ()
    limit = call.server.config.limits.body if max_text is None else max_text
    if call.body_size - sum(_encoded_size(len(one.data)) for one in files if one.data is not None) > limit:
        raise TooLarge(f"the body without its files is larger than {limit} bytes.", remedy="Send less.")
    return _stage_files(call, files) if files else nullcontext(ReceivedFiles())


@asynccontextmanager
async def _stage_files(call: Call[Any, Any], files: Sequence[Attachment]) -> AsyncGenerator[ReceivedFiles, None]:
    async with call.engine.files.open_staging() as staging:
        for number, one in enumerate(files):
            try:
                await _stage_attachment(staging, one)
            except GatewayError as error:
                error.message = f"attachments[{number}]: {error.message}"
                raise
        call.forget_files(attachments=UNSET)
        del files
        yield ReceivedFiles(staging.files, staging.staged)


async def _stage_attachment(staging: Staging, given: Attachment) -> None:
    if given.file is not None:
        if given.data is not None or given.name is not None or given.media_type is not None:
            raise InvalidRequest("a stored file has its own name, type and content.", remedy="Send `file` alone.")
        await staging.add_stored(given.file)
    elif given.data is None:
        raise InvalidRequest("send `file`, the id of a stored file, or `data` with a `name`.")
    else:
        await staging.add_bytes(given.data, name=given.name or "", media_type=given.media_type or "")
