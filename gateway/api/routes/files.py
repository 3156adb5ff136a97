"""Files: upload, list, download and delete them: `/api/files`."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp import hdrs, http_exceptions, web
from msgspec import Meta, Struct

from gateway.api import body, paging, views
from gateway.api.errors import ANSWER_POLICY
from gateway.api.file_response import WatchedFileResponse
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.file import StoredFile
from gateway.domain.media_type import UNKNOWN_MEDIA_TYPE
from gateway.domain.token import Scope
from gateway.engine.file_staging import Staging
from gateway.errors import FileUnknown, InvalidRequest, TooLarge

ROUTES = Routes("files")

#: bytes that are read of a multipart body at once, and bytes of a field that is not the file
MULTIPART_PIECE_BYTES, MAX_FIELD_BYTES = 64 * 1024, 64 * 1024
FORM_EXAMPLE = "curl -F file=@report.pdf …"
#: what pages of this gateway's origin may do with a downloaded file: nothing
FILE_POLICY = f"sandbox; {ANSWER_POLICY}"


class Upload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is uploaded."""

    #: name of the file; the one in a multipart body counts more
    name: Annotated[str, Meta(max_length=1000)] = ""


class FileAnswer(Struct, frozen=True, kw_only=True):
    file: views.FileShown


class StoredFileShown(views.FileShown, frozen=True, kw_only=True):
    """A stored file."""

    #: how many tasks, messages and schedules refer to it; without any, it is deleted after a day
    uses: int
    created_at: str


class StoredFileAnswer(Struct, frozen=True, kw_only=True):
    file: StoredFileShown


class FileSpace(Struct, frozen=True, kw_only=True):
    """How large files are and may be, in bytes."""

    #: of all files together; equal files count once
    used: int
    #: what all files together may have
    quota: int
    #: what one file may have
    size: int
    #: what the files of one message may have together
    message_size: int
    #: how many files one message may have
    per_message: int


class FileList(Struct, frozen=True, kw_only=True):
    #: newest first
    files: list[StoredFileShown]
    space: FileSpace
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


class FileDeleted(Struct, frozen=True):
    status: str = "ok"


class View(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to return a file."""

    #: whether a browser saves it, even if it is a picture
    download: bool = False


@ROUTES.add("POST", "/api/files", scope=Scope.WRITE, query=Upload, answer=FileAnswer, status=201, takes_stream=True)
async def upload_file(call: Call[Nothing, Upload]) -> FileAnswer:
    """Store a file: the body as it is, with its Content-Type, or the part `file` of a multipart form."""
    async with call.engine.files.open_staging() as staging:
        await _receive_upload(call, staging)
        key = call.read_idempotency_key(staging.files)
        stored = await call.engine.files.store_upload(staging.staged[0], key)
    return FileAnswer(file=views.render_file(stored))


@ROUTES.add("GET", "/api/files", scope=Scope.READ, query=paging.Paging, answer=FileList)
async def list_files(call: Call[Nothing, paging.Paging]) -> FileList:
    """List stored files, newest first."""
    found = await call.engine.files.list_files(paging.page_to_fetch(call.query))
    files, cursor = paging.render_page(call.query, found, lambda one: one.seq, _render_stored)
    limits = call.engine.files.limits
    space = FileSpace(
        used=await call.engine.files.count_bytes(),
        quota=limits.quota,
        size=limits.size,
        message_size=limits.message_size,
        per_message=limits.per_message,
    )
    return FileList(files=files, space=space, next_cursor=cursor)


@ROUTES.add("GET", "/api/files/{id}", scope=Scope.READ, query=View, answer_media_type=UNKNOWN_MEDIA_TYPE)
async def download_file(call: Call[Nothing, View]) -> web.StreamResponse:
    """Return the content of a file, or the part of it that a Range header names."""
    file = (await call.engine.files.get_file(call.path["id"])).file
    content = await call.engine.files.fetch_content(file)
    if not content.exists():
        raise FileUnknown(f"the content of the file {file.id} is gone.", remedy="Restore it from a backup.")
    shown = file.is_picture and not call.query.download
    return WatchedFileResponse(
        content,
        etag=file.sha256,
        stall_seconds=call.server.config.limits.stall_seconds,
        headers={
            hdrs.CONTENT_TYPE: file.media_type,
            hdrs.CONTENT_DISPOSITION: make_disposition("inline" if shown else "attachment", file.name),
            "Content-Security-Policy": FILE_POLICY,
            hdrs.CACHE_CONTROL: "private, max-age=3600, immutable",
            hdrs.VARY: f"{hdrs.AUTHORIZATION}, {hdrs.COOKIE}",
        },
    )


@ROUTES.add("GET", "/api/files/{id}/info", scope=Scope.READ, answer=StoredFileAnswer)
async def show_file(call: Call[Nothing, Nothing]) -> StoredFileAnswer:
    """Show the name, type and size of a file, and how many things refer to it."""
    return StoredFileAnswer(file=_render_stored(await call.engine.files.get_file(call.path["id"])))


@ROUTES.add("DELETE", "/api/files/{id}", scope=Scope.WRITE, answer=FileDeleted)
async def delete_file(call: Call[Nothing, Nothing]) -> FileDeleted:
    """Delete a file to which no task, message or schedule refers."""
    await call.engine.files.delete_file(call.path["id"])
    return FileDeleted()


async def _receive_upload(call: Call[Any, Upload], staging: Staging) -> None:
    request = call.request
    seconds = call.server.config.limits.body_seconds
    body.check_coding(request)
    if request.content_type == "multipart/form-data":
        await _receive_form(call, staging, seconds)
        return
    declared = request.headers.get(hdrs.CONTENT_TYPE, "")
    stream = body.stream_body(request, seconds)
    await staging.add_stream(stream, name=call.query.name, media_type=declared, size=request.content_length)


async def _receive_form(call: Call[Any, Upload], staging: Staging, seconds: float) -> None:
    """Receive the part `file` of a form. All of the form is read: it may have been cut off."""
    try:
        reader = await call.request.multipart()
        await body.begin_body(call.request)
        pace = body.Pace(seconds)
        while (part := await pace.receive(reader.next())) is not None:
            if not isinstance(part, aiohttp.BodyPartReader) or _is_encoded(part):
                raise InvalidRequest("a part of the form is encoded, or a form itself.", remedy="Send it as it is.")
            if part.name != "file":
                await _skip_field(part, pace)
            elif staging.files:
                raise InvalidRequest("the form has more than one part `file`.", remedy="Upload one file at a time.")
            else:
                declared = part.headers.get(hdrs.CONTENT_TYPE, "")
                name = part.filename or call.query.name
                await staging.add_stream(_read_part(part, pace), name=name, media_type=declared)
    except (ValueError, AssertionError, http_exceptions.BadHttpMessage) as error:  # as aiohttp says it
        raise InvalidRequest("the body is not a whole multipart form.", remedy=FORM_EXAMPLE) from error
    if not staging.files:
        raise InvalidRequest("the form has no part `file`.", remedy=FORM_EXAMPLE)


def _is_encoded(part: aiohttp.BodyPartReader) -> bool:
    """Return whether the bytes of a part are not those of the file."""
    transfer = part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "binary")
    return hdrs.CONTENT_ENCODING in part.headers or transfer.lower() not in ("binary", "8bit", "7bit")


async def _skip_field(part: aiohttp.BodyPartReader, pace: body.Pace) -> None:
    size = 0
    async for data in _read_part(part, pace):
        size += len(data)
        if size > MAX_FIELD_BYTES:
            raise TooLarge(f"a field of the form that is not `file` has more than {MAX_FIELD_BYTES} bytes.")


async def _read_part(part: aiohttp.BodyPartReader, pace: body.Pace) -> AsyncGenerator[bytes, None]:
    while data := await pace.receive(part.read_chunk(MULTIPART_PIECE_BYTES)):
        yield bytes(data)


def make_disposition(kind: str, name: str) -> str:
    """Return a Content-Disposition header; https://www.rfc-editor.org/rfc/rfc6266 has the format."""
    plain = re.sub(r"[^ !#$&+\-.^_`|~0-9A-Za-z()\[\]{}@,;=]", "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _render_stored(of: StoredFile) -> StoredFileShown:
    shown = msgspec.structs.asdict(views.render_file(of.file))
    return StoredFileShown(**shown, uses=of.uses, created_at=times.format_rfc3339(of.created))
