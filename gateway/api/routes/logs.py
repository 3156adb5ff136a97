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
LOOK = 0.25


class Which(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which lines to read."""

    lines: Annotated[int, Meta(ge=0, le=10_000)] = 50
    #: lowest level
    level: Literal["debug", "info", "warning", "error"] = "debug"
    #: whether to stream new lines, too
    follow: bool = False


class LogLines(Struct, frozen=True, kw_only=True):
    """The last lines, oldest first; each is an object with time, level and event."""

    lines: list[Any]


@ROUTES.add("GET", "/api/logs", scope=Scope.ADMIN, query=Which, answer=LogLines, streams=True)
async def read_logs(call: Call[Nothing, Which]) -> LogLines | web.StreamResponse:
    """Read the last lines of the log, or follow it."""
    file, asked = _file(call), call.query
    if asked.follow or call.wants_stream:
        return await sse.stream(call, _frames(call))
    found = await asyncio.to_thread(log_reader.tail, file, asked.lines, asked.level)
    return LogLines(lines=[_parsed(line) for line in found])


def _file(call: Call[Nothing, Which]) -> Path:
    return paths.log_file(call.server.config.home, call.server.config.path)


async def _frames(call: Call[Nothing, Which]) -> AsyncGenerator[bytes, None]:
    file, asked = _file(call), call.query
    follower = log_reader.Follower(file)
    try:
        for line in await asyncio.to_thread(log_reader.tail, file, asked.lines, asked.level):
            yield _frame(line)
        while True:
            for line in follower.read():
                if log_reader.at_least(line, asked.level):
                    yield _frame(line)
            await asyncio.sleep(LOOK)
    finally:
        follower.close()


def _frame(line: bytes) -> bytes:
    return sse.frame(msgspec.json.encode(_parsed(line)), event="line")


def _parsed(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"event": line.decode("utf-8", "replace")}
