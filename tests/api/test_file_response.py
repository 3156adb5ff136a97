"""Downloads over one connection, and by clients that read slowly or not at all."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.api import file_response
from harness.waiting import PATIENCE
from tests.api.client import BEARER, head
from tests.support.inprocess import TOKEN, Serving, serving

#: more than the system keeps for a client that reads nothing
CONTENT = random.Random("moon").randbytes(16 << 20)

#: asks for a part of a file, and keeps the connection
KEPT_GET = f"GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nRange: bytes=%s\r\n\r\n".encode()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path / "home", {"limits": {"stall_seconds": 2.0}}) as one:
        yield one


async def upload(served: Serving) -> str:
    """Upload the content; return the path of the file."""
    url = f"http://127.0.0.1:{served.port}/api/files"
    async with aiohttp.ClientSession(headers=BEARER) as client, client.post(url, data=io.BytesIO(CONTENT)) as answer:
        return f"/api/files/{(await answer.json())['file']['id']}"


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer of a connection that is kept, and return its body."""
    header = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    return await reader.readexactly(int(header.partition("content-length: ")[2].partition("\r\n")[0]))


async def test_one_connection_takes_several_files_and_parts_of_them(served: Serving) -> None:
    path = await upload(served)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)

    async with asyncio.timeout(PATIENCE):
        came = []
        for part in ("0-", "5-2000000", "-7", "0-"):
            writer.write(KEPT_GET % (path.encode(), part.encode()))
            came.append(await read_answer(reader))
    writer.close()

    assert came == [CONTENT, CONTENT[5:2_000_001], CONTENT[-7:], CONTENT]


async def test_a_client_that_takes_nothing_of_a_file_is_dropped(served: Serving) -> None:
    path = await upload(served)
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(head(f"GET {path}"))

    async with asyncio.timeout(PATIENCE):
        while True:  # a connection that was dropped cannot be written to
            try:
                writer.write(b"\r\n")
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0.05)


async def test_a_client_that_reads_slowly_gets_the_whole_file(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_response, "MAX_PIECE_BYTES", file_response.FIRST_PIECE_BYTES)
    path = await upload(served)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    writer.write(head(f"GET {path}"))
    began = asyncio.get_running_loop().time()

    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"\r\n\r\n")
        came = bytearray()
        while len(came) < len(CONTENT):
            piece = await reader.read(1 << 20)
            assert piece, "the connection was closed too early"
            came += piece
            if asyncio.get_running_loop().time() - began < 3.0:  # longer than the client may take nothing
                await asyncio.sleep(0.1)
    writer.close()

    assert came == CONTENT


async def test_a_file_that_the_system_cannot_send_by_itself_comes_all_the_same(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "not on this file system")

    monkeypatch.setattr(os, "sendfile", refuse, raising=False)
    path = await upload(served)
    url = f"http://127.0.0.1:{served.port}{path}"

    async with aiohttp.ClientSession(headers=BEARER) as client:
        async with client.get(url) as whole:
            assert await whole.read() == CONTENT
        async with client.get(url, headers={"Range": "bytes=5-2000000"}) as part:
            assert await part.read() == CONTENT[5:2_000_001]


async def test_a_client_that_goes_away_during_a_download_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path / "home") as served:
        path = await upload(served)
        for size in range(1000, 3_000_000, 300_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(head(f"GET {path}"))
            await reader.readexactly(size)
            writer.transport.abort()

    assert [record.message for record in caplog.records if record.exc_info] == []
