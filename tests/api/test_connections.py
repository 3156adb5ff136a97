"""Connections: how many, how long, and what becomes of half a request."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from gateway.api import body, connection
from gateway.api.connection import Connection, LimitedServer
from gateway.settings.limits import Limits
from harness.waiting import PATIENCE, until
from tests.api.client import ask, head, post, raw, read
from tests.support.hurrying import Hurry
from tests.support.inprocess import TOKEN, Serving, serving

HEADER = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
KEPT = b"GET /livez HTTP/1.1\r\n" + HEADER + b"\r\n"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[connection.LimitedServer]:
    """The servers that are made from now on."""
    made: list[connection.LimitedServer] = []

    class Listed(connection.LimitedServer):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(connection, "LimitedServer", Listed)
    return made


@asynccontextmanager
async def connected(served: Serving) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        async with asyncio.timeout(PATIENCE):
            yield reader, writer
    finally:
        writer.close()


async def one(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Read one answer of a connection that is kept."""
    header = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(header.partition("content-length: ")[2].partition("\r\n")[0])
    return int(header.split()[1]), json.loads(await reader.readexactly(length))


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /livez HTTP/1.1\r\nHost: loc", KEPT[:-2]])
async def test_half_a_header_is_not_waited_for(tmp_path: Path, sent: bytes) -> None:
    async with serving(tmp_path / "home", {"limits": {"header_seconds": 0.1}}) as served:
        assert await raw(served, sent) == b""


async def test_a_header_that_comes_drop_by_drop_has_no_more_time(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "home", {"limits": {"header_seconds": 0.2}}) as served,
        connected(served) as (reader, writer),
    ):
        closed = asyncio.create_task(reader.read())
        writer.write(b"GET /livez HTTP/1.1\r\n")
        while not closed.done():
            writer.write(b"X")
            await asyncio.wait([closed], timeout=0.02)

        with contextlib.suppress(ConnectionResetError):  # it was closed with drops in it that nobody has read
            assert closed.result() == b""


@pytest.mark.parametrize("sent", [b"G", KEPT[:-2]])
async def test_half_a_second_header_is_not_waited_for(tmp_path: Path, sent: bytes, hurry: Hurry) -> None:
    async with (
        serving(tmp_path / "home", {"limits": {"header_seconds": 30}}) as served,
        connected(served) as (reader, writer),
    ):
        writer.write(KEPT)
        assert (await one(reader))[0] == 200
        writer.write(sent)
        await ask(served, "GET", "/livez")  # what was sent before has come by now, too
        hurry(30)

        assert await reader.read() == b""


async def test_an_idle_connection_is_kept_beyond_the_header_s_time(
    tmp_path: Path, hurry: Hurry, pace: asyncio.Semaphore
) -> None:
    async with (
        serving(tmp_path / "home", {"limits": {"header_seconds": 20}}) as served,
        connected(served) as (reader, writer),
    ):
        body = json.dumps({"message": "@@ sleep 1"}).encode()
        whole = b"POST /api/agent HTTP/1.1\r\n" + HEADER
        whole += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        for part in (whole, body[:3], body[3:]):  # a body in pieces is no header that has begun
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        await until(lambda: served.engine._worker.current_run_ids, "the request has come")
        hurry(20)
        pace.release()
        assert (await one(reader))[0] == 200
        hurry(20)
        await ask(served, "GET", "/livez")  # whatever was due has happened by now
        writer.write(KEPT)

        assert (await one(reader))[0] == 200


async def test_an_idle_connection_is_closed_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_SECONDS", 0.1)
    async with serving(tmp_path / "home") as served, connected(served) as (reader, writer):
        writer.write(KEPT)
        await one(reader)

        assert await reader.read() == b""


async def test_half_a_body_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REFUSED_BODY_LINGER_SECONDS", 0.1)
    async with serving(tmp_path / "home", {"limits": {"body_seconds": 0.1}}) as served:
        answer = read(await raw(served, post("/api/tasks", b'{"input": "hi"}')[:-3]))
        tasks = (await ask(served, "GET", "/api/tasks")).body["tasks"]

    assert (answer.status, answer.code, answer.headers["Connection"]) == (504, "TIMEOUT", "close")
    assert tasks == []


async def test_a_body_that_breaks_off_is_no_request(moongate: Serving) -> None:
    await raw(moongate, post("/api/tasks", b'{"input": "hi"}')[:-3], half_close=True)

    assert (await ask(moongate, "GET", "/api/tasks")).body["tasks"] == []


async def test_requests_may_be_sent_ahead(moongate: Serving) -> None:
    async with connected(moongate) as (reader, writer):
        body = json.dumps({"message": "hi"}).encode()
        said = b"POST /api/agent HTTP/1.1\r\n" + HEADER + b"Content-Type: application/json\r\n"
        said += b"Content-Length: %d\r\n\r\n" % len(body)
        writer.write((said + body + KEPT) * 20)
        answers = [await one(reader) for _ in range(40)]

    assert [status for status, _ in answers] == [200] * 40
    assert [answer["status"] for _, answer in answers] == ["ok"] * 40


async def test_a_body_may_come_in_chunks(moongate: Serving) -> None:
    chunks = b"5\r\n" + b'{"inp' + b"\r\n" + b"a;x=y\r\n" + b'ut": "hi"}' + b"\r\n0\r\n\r\n"
    start = head("POST /api/tasks", "Content-Type: application/json", "Transfer-Encoding: chunked")

    assert read(await raw(moongate, start + chunks)).status == 202


async def test_chunks_without_end_are_too_large(tmp_path: Path) -> None:
    """They have no length to be refused by before they are read."""
    async with serving(tmp_path / "home", {"limits": {"body": 1024}}) as served:
        start = head("POST /hooks/wake", "Content-Type: application/json", "Transfer-Encoding: chunked")
        one_packet = start + (b"400\r\n" + b" " * 1024 + b"\r\n") * 2 + b"0\r\n\r\n"
        answer = read(await raw(served, one_packet))

    assert (answer.status, answer.body["ok"]) == (413, False)


@pytest.mark.parametrize("size", [2_000_000, 20_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_client_that_first_sends_all_gets_to_read_that_it_was_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, chunked: bool
) -> None:
    monkeypatch.setattr(connection, "REFUSED_BODY_LINGER_SECONDS", PATIENCE)

    def send() -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        body = b'{"message": "' + b"x" * size + b'"}'
        parts = [body[at : at + 65536] for at in range(0, len(body), 65536)]
        client.request("POST", "/api/agent", parts if chunked else body, headers, encode_chunked=chunked)
        response = client.getresponse()
        found = response.status, response.read()
        client.close()
        return found

    async with serving(tmp_path / "home") as served:
        status, body = await asyncio.to_thread(send)

    assert (status, json.loads(body)["error"]["code"]) == (413, "TOO_LARGE")


async def test_a_body_of_just_the_limit_is_read(moongate: Serving) -> None:
    limit = moongate.context.config.limits.body
    for size, status in ((limit, 200), (limit + 1, 413)):
        body = b'{"message": "' + b"x" * (size - 15) + b'"}'
        assert len(body) == size
        assert read(await raw(moongate, post("/api/agent", body))).status == status


async def test_a_refused_body_ends_the_connection(moongate: Serving) -> None:
    """What is still to come must not be taken for a request."""
    body = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40_000
    start = b"POST /api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    came = await raw(moongate, start + body)

    assert came.count(b"HTTP/1.1 ") == 1
    assert read(came).status == 401


@pytest.mark.parametrize(
    ("token", "size", "expected"),
    [(TOKEN, 15, b"HTTP/1.1 100 Continue"), ("wrong", 15, b"HTTP/1.1 401"), (TOKEN, 200_000_000, b"HTTP/1.1 413")],
)
async def test_only_who_is_let_in_is_asked_for_the_body(
    moongate: Serving, token: str, size: int, expected: bytes
) -> None:
    async with connected(moongate) as (reader, writer):
        more = ("Content-Type: application/json", f"Content-Length: {size}", "Expect: 100-continue")
        writer.write(head("POST /api/tasks", *more, bearer=token))
        first = await reader.readline()
        if expected.endswith(b"Continue"):
            writer.write(b'{"input": "hi"}')
            assert read(await reader.read()).status == 202

    assert first.startswith(expected)


@pytest.mark.parametrize(
    "more",
    [
        ["Content-Type: text/plain"],
        ["Content-Type: application/x-www-form-urlencoded"],
        ["Content-Type: multipart/form-data; boundary=x"],
        ["Content-Type: application/json; charset=latin-1"],
        ["Content-Type: application/jsonx"],
        ["Content-Type: "],
        [],
        ["Content-Type: application/json", "Content-Encoding: gzip"],
        ["Content-Type: application/json", "Content-Encoding: identity"],
    ],
)
async def test_only_plain_json_is_read(moongate: Serving, more: list[str]) -> None:
    answer = read(await raw(moongate, head("POST /api/tasks", "Content-Length: 15", *more) + b'{"input": "hi"}'))

    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA")


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON", 'application/json; charset="UTF-8"', "application/json;charset=utf8; v=1"],
)
async def test_json_has_several_names(moongate: Serving, kind: str) -> None:
    answer = read(
        await raw(moongate, head("POST /api/tasks", "Content-Length: 15", f"Content-Type: {kind}") + b'{"input": "hi"}')
    )

    assert answer.status == 202


# --- how many ---------------------------------------------------------------------------------


async def test_a_connection_too_many_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"limits": {"connections": 2}}) as served:
        async with connected(served) as one_, connected(served) as two:
            for reader, writer in (one_, two):
                writer.write(KEPT)
                await one(reader)
            refused = read(await raw(served, b""))
        await _until_answered(served)

    assert (refused.status, refused.code) == (503, "UNAVAILABLE")
    assert refused.headers["Retry-After"] == "1"


async def test_connections_of_one_address_are_counted_unless_it_is_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path / "home", {"limits": {"per_client": 1}}) as served:
        async with connected(served), connected(served) as (reader, writer):
            writer.write(KEPT)
            assert (await one(reader))[0] == 200
            monkeypatch.setattr(connection, "is_loopback", lambda _: False)
            refused = read(await raw(served, b""))
        monkeypatch.setattr(connection, "is_loopback", lambda _: True)

    assert (refused.status, refused.code) == (503, "UNAVAILABLE")
    assert "your address" in refused.message


@pytest.mark.parametrize("limit", ["per_client", "connections"])
async def test_each_connection_that_ended_makes_room_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Otherwise a client is refused after so many connections in the gateway's life."""
    monkeypatch.setattr(connection, "is_loopback", lambda _: False)
    async with serving(tmp_path / "home", {"limits": {limit: 1}}) as served:
        for _ in range(3):
            await _until_answered(served)
            async with connected(served) as (_, writer):
                writer.transport.abort()
        await _until_answered(served)


async def _until_answered(served: Serving) -> None:
    async with asyncio.timeout(PATIENCE):
        while read(await raw(served, head("GET /livez"))).status != 200:
            await asyncio.sleep(0.01)


async def test_a_connection_that_ended_leaves_nothing_behind(
    tmp_path: Path, servers: list[connection.LimitedServer]
) -> None:
    async with serving(tmp_path / "home") as served:
        (server,) = servers
        async with connected(served) as (_, writer):
            writer.write(KEPT[:20])
            await until(lambda: server.connections, "it is open")
            (ended,) = cast("list[connection.Connection]", server.connections)
            ended.pause_writing()
            timers = (ended._deadline, ended._stall_timer)
            writer.transport.abort()
            await until(lambda: not server.connections, "it has ended")

    assert all(timer is not None and timer.cancelled() for timer in timers)
    assert not server._addresses


async def test_who_has_read_all_of_an_answer_is_never_dropped_for_it(
    tmp_path: Path, servers: list[connection.LimitedServer], hurry: Hurry
) -> None:
    """A timer that goes on would find that nothing is taken any more."""
    async with (
        serving(tmp_path / "home", {"limits": {"stall_seconds": 1}}) as served,
        connected(served) as (reader, writer),
    ):
        writer.write(KEPT)
        await one(reader)
        (kept,) = cast("list[connection.Connection]", servers[0].connections)
        kept.pause_writing()
        kept.resume_writing()
        for _ in range(3):
            hurry(1)
            await ask(served, "GET", "/livez")  # whatever was due has happened by now
        writer.write(KEPT)

        assert (await one(reader))[0] == 200


async def test_a_client_that_goes_while_it_is_answered_is_no_error_of_the_gateway(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def write_to_nobody() -> None:
        raise ConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(moongate.engine.tokens, "list_tokens", write_to_nobody)

    assert await raw(moongate, head("GET /api/tokens")) == b""
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert (await ask(moongate, "GET", "/livez")).status == 200


async def test_slow_clients_do_not_hold_up_the_others(tmp_path: Path) -> None:
    """They have longer than the others take, all together."""
    limits = {"header_seconds": 3 * PATIENCE, "body_seconds": 3 * PATIENCE}
    async with serving(tmp_path / "home", {"limits": limits}) as served:
        slow = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(100)]
        for number, (_, writer) in enumerate(slow):
            writer.write(KEPT[:20] if number % 2 else post("/api/tasks", b'{"input": "hi"}')[:-3])
        async with asyncio.timeout(2 * PATIENCE):
            for _ in range(50):
                assert (await ask(served, "GET", "/health")).status == 200
        for _, writer in slow:
            writer.close()


async def test_large_bodies_at_once_are_limited_and_make_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body.IncomingBodies.__init__, "__defaults__", (1_500_000,))
    whole = post("/api/agent", json.dumps({"message": "x" * 900_000}).encode())

    async def has_room(served: Serving) -> bool:
        return read(await raw(served, whole)).status != 503

    async with serving(tmp_path / "home") as served:
        assert await has_room(served)
        async with connected(served) as (_, writer):
            writer.write(whole[:-10])
            await writer.drain()
            async with asyncio.timeout(PATIENCE):
                while await has_room(served):
                    pass
        async with asyncio.timeout(PATIENCE):
            while not await has_room(served):
                pass


class Client(asyncio.Transport):
    """A client that takes only what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.unread = 0
        self.was_dropped = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unread += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return self.was_dropped

    def close(self) -> None: ...

    def abort(self) -> None:
        self.was_dropped = True


async def test_a_client_that_takes_less_than_is_written_is_dropped_only_when_it_takes_nothing() -> None:
    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("no request comes")

    held = LimitedServer(web.Server(refuse), Limits(), lambda address: True)()
    assert isinstance(held, Connection)
    client = Client()
    held.connection_made(client)
    assert held.transport is not None
    held.transport.write(b"x" * 100)
    held.pause_writing()

    for _ in range(3):  # it takes 50 bytes while 100 more are written
        client.unread -= 50
        held.transport.writelines([b"x" * 60, b"x" * 40])
        held._drop_stalled_reader()
        assert not client.was_dropped
    held.transport.write(b"x" * 100)
    held._drop_stalled_reader()

    assert client.was_dropped
    held.connection_lost(None)
