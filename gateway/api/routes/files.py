"""Files: upload, list, download and delete them: `/api/files`."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any
from urllib.parse import quote

import aiohttp
from aiohttp import hdrs, web
from msgspec import Meta, Struct

from gateway.api import body, paging, views
from gateway.api.file_response import WatchedFileResponse
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.file import File, StoredFile
from gateway.domain.media_type import UNKNOWN_MEDIA_TYPE
from gateway.domain.token import Scope
from gateway.engine.file_staging import Staging
from gateway.errors import FileUnknown, InvalidRequest

ROUTES = Routes("files")

#: bytes that are read of a multipart body at once
MULTIPART_PIECE_BYTES = 64 * 1024
#: what pages of this gateway's origin may do with a downloaded file: nothing
FILE_POLICY = "sandbox; default-src 'none'"


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
    content = call.engine.files.locate_content(file)
    if not content.exists():
        raise FileUnknown(f"the content of the file {file.id} is gone.", remedy="Restore it from a copy of data/files.")
    shown = file.is_picture and not call.query.download
    etag = f'"{file.sha256}"'
    if etag in call.request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers={hdrs.ETAG: etag})
    return WatchedFileResponse(
        content,
        stall_seconds=call.server.config.limits.stall_seconds,
        headers={
            hdrs.CONTENT_TYPE: file.media_type,
            hdrs.CONTENT_DISPOSITION: make_disposition("inline" if shown else "attachment", file.name),
            "Content-Security-Policy": FILE_POLICY,
            hdrs.CACHE_CONTROL: "private, max-age=3600, immutable",
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


async def _receive_upload(call: Call[Any, Upload], staging: Staging) -> File:
    request = call.request
    limits = call.server.config.limits
    stream = body.stream_body(request, limits.body_seconds)
    if request.content_type != "multipart/form-data":
        declared = request.headers.get(hdrs.CONTENT_TYPE, "")
        size = request.content_length
        return await staging.add_stream(stream, name=call.query.name, media_type=declared, size=size)
    await body.begin_body(request)
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if isinstance(part, aiohttp.BodyPartReader) and part.name == "file":
                name = part.filename or call.query.name
                declared = part.headers.get(hdrs.CONTENT_TYPE, "")
                return await staging.add_stream(_read_part(part, limits.body_seconds), name=name, media_type=declared)
    except (ValueError, web.RequestPayloadError) as error:
        raise InvalidRequest(f"the body is not a multipart form: {error}.") from error
    raise InvalidRequest("the form has no part `file`.", remedy="curl -F file=@report.pdf …")


async def _read_part(part: aiohttp.BodyPartReader, seconds: float) -> AsyncGenerator[bytes, None]:
    while data := await body.within(seconds, part.read_chunk(MULTIPART_PIECE_BYTES)):
        yield bytes(data)


def make_disposition(kind: str, name: str) -> str:
    """Return a Content-Disposition header; https://www.rfc-editor.org/rfc/rfc6266 has the format."""
    plain = re.sub(r"[^ !#$&+\-.^_`|~0-9A-Za-z()\[\]{}@,;=]", "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _render_stored(of: StoredFile) -> StoredFileShown:
    file = of.file
    return StoredFileShown(
        id=file.id,
        name=file.name,
        media_type=file.media_type,
        size=file.size,
        sha256=file.sha256,
        uses=of.uses,
        created_at=times.format_rfc3339(of.created),
    )
