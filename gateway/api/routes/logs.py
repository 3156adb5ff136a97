"""The gateway's own log: `GET /api/logs`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway import log_reader, paths
from gateway.api import sse
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.token import Scope

ROUTES = Routes("logs")

#: seconds between reads of a file that is followed
LOG_POLL_INTERVAL_SECONDS = 0.25


class Which(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which lines to read."""

    #: how many of the last lines
    lines: Annotated[int, Meta(ge=0, le=10_000)] = 50
    #: lowest level
    level: Literal["debug", "info", "warning", "error"] = "debug"
    #: whether to stream new lines, too
    follow: bool = False


class LogLines(Struct, frozen=True, kw_only=True):
    """The last lines, oldest first; each is an object with time, level and event."""

    #: oldest first; each is an object with `time`, `level` and `event`
    lines: list[Any]


@ROUTES.add("GET", "/api/logs", scope=Scope.ADMIN, query=Which, answer=LogLines, streams=True)
async def read_logs(call: Call[Nothing, Which]) -> LogLines | web.StreamResponse:
    """Read the last lines of the log, or follow it."""
    file, asked = _log_file(call), call.query
    if asked.follow or call.wants_stream:
        return await sse.send_stream(call, _stream_log_lines(call))
    found = await asyncio.to_thread(log_reader.read_last_lines, file, asked.lines, asked.level)
    return LogLines(lines=[_parse_log_line(line) for line in found])


def _log_file(call: Call[Nothing, Which]) -> Path:
    return paths.log_file(call.server.config.home, call.server.config.path)


async def _stream_log_lines(call: Call[Nothing, Which]) -> AsyncGenerator[bytes, None]:
    file, asked = _log_file(call), call.query
    follower = log_reader.LogFollower(file)
    try:
        for line in await asyncio.to_thread(log_reader.read_last_lines, file, asked.lines, asked.level):
            yield _encode_log_line(line)
        while True:
            for line in follower.read_new_lines():
                if log_reader.has_level(line, asked.level):
                    yield _encode_log_line(line)
            await asyncio.sleep(LOG_POLL_INTERVAL_SECONDS)
    finally:
        follower.close()


def _encode_log_line(line: bytes) -> bytes:
    return sse.encode_frame(msgspec.json.encode(_parse_log_line(line)), event="line")


def _parse_log_line(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"event": line.decode("utf-8", "replace")}
