"""WebSockets and the tickets that open them: whole, resumable, alive, and over in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from gateway.api import sse
from gateway.errors import Unavailable
from harness.waiting import PATIENCE, until
from tests.api.client import ask, head, raw, read, submit, token
from tests.support.files_below import read_files
from tests.support.inprocess import TOKEN, Serving, serving


class Socket:
    """A WebSocket as a client reads it."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection = connection

    async def next(self) -> Any:
        """Return the next message's JSON, or fail."""
        async with asyncio.timeout(PATIENCE):
            message = await self.connection.receive()
        assert message.type is WSMsgType.TEXT, message
        return json.loads(message.data)

    async def end(self) -> int | None:
        """Return the code with which the other side closes."""
        async with asyncio.timeout(PATIENCE):
            while (await self.connection.receive()).type is WSMsgType.TEXT:
                pass
        return self.connection.close_code


@asynccontextmanager
async def opened(
    served: Serving, query: str = "", *, bearer: str | None = TOKEN, **headers: str
) -> AsyncIterator[Socket]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if bearer is not None:
        sent["Authorization"] = f"Bearer {bearer}"
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{served.port}", headers=sent) as client,
        client.ws_connect(f"/api/ws{query}") as connection,
    ):
        yield Socket(connection)


async def ticket(served: Serving, *, bearer: str | None = None, **headers: str) -> str:
    made = await ask(served, "POST", "/api/tickets", token=bearer, **headers)
    assert made.status == 201, made.body
    return str(made.body["ticket"])


async def refused(served: Serving, query: str = "", **options: Any) -> int:
    """Return the status with which a WebSocket is refused."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with opened(served, query, **options):
            pass
    return caught.value.status


# --- the socket -------------------------------------------------------------------------------


async def test_all_changes_come_over_a_socket_and_are_resumed_from_any(moongate: Serving) -> None:
    async with opened(moongate) as socket:
        task = await submit(moongate, "hi", session="s")
        live = [await socket.next() for _ in range(4)]
    async with opened(moongate, f"?after={live[1]['seq']}") as socket:
        again = [await socket.next() for _ in range(2)]

    assert [(change["topic"], change["state"]) for change in live] == [
        ("session", "created"),
        ("run", "queued"),
        ("run", "running"),
        ("run", "succeeded"),
    ]
    assert live[1]["ref"] == task["id"]
    assert again == live[2:]


async def test_a_request_for_no_socket_is_told_so(moongate: Serving) -> None:
    answer = await ask(moongate, "GET", "/api/ws")

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert "WebSocket" in answer.message


async def test_a_foreign_page_s_socket_is_refused(moongate: Serving) -> None:
    assert await refused(moongate, Origin="http://evil.example") == 403
    assert await refused(moongate, Host="evil.example") == 421


async def test_a_page_of_our_own_may_open_one(moongate: Serving) -> None:
    async with opened(moongate, Origin=f"http://127.0.0.1:{moongate.port}") as socket:
        await submit(moongate, "hi")
        await socket.next()


async def test_without_credentials_there_is_no_socket(moongate: Serving) -> None:
    assert await refused(moongate, bearer=None) == 401
    assert await refused(moongate, bearer="wrong") == 401
    assert await refused(moongate, f"?token={TOKEN}", bearer=None) == 400


async def test_what_a_client_says_is_not_listened_to(moongate: Serving) -> None:
    async with opened(moongate) as socket:
        for text in ("hello", '{"type": "subscribe"}', "x" * 4000):
            await socket.connection.send_str(text)
        await socket.connection.send_bytes(b"\x00\xff")
        await submit(moongate, "hi")

        assert (await socket.next())["topic"] == "session"


async def test_a_client_that_says_too_much_at_once_is_closed(moongate: Serving) -> None:
    async with opened(moongate) as socket:
        await socket.connection.send_str("x" * 5000)

        assert await socket.end() == 1009


async def test_a_client_that_breaks_the_protocol_is_closed(moongate: Serving) -> None:
    upgrade = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    request = head("GET /api/ws", *upgrade).replace(b"Connection: close", b"Connection: Upgrade")
    came = await raw(moongate, request + b"\xff\xff\xff\xff")

    assert came.startswith(b"HTTP/1.1 101 ")
    assert (1002).to_bytes(2, "big") in came.partition(b"\r\n\r\n")[2]


async def test_who_goes_away_leaves_nothing_behind(moongate: Serving) -> None:
    waiting = moongate.engine._hub._changes._waiting
    async with opened(moongate):
        await until(lambda: waiting, "the reader waits")
    await until(lambda: not waiting, "nobody waits")
    await until(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "websocket"], "no task is left")


async def test_a_socket_is_pinged(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STREAM_HEARTBEAT_SECONDS", 0.05)
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{moongate.port}", headers=moongate.client.headers) as client,
        client.ws_connect("/api/ws", autoping=False) as connection,
        asyncio.timeout(PATIENCE),
    ):
        message = await connection.receive()

    assert message.type is WSMsgType.PING


async def test_a_client_that_answers_no_ping_is_dropped(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STREAM_HEARTBEAT_SECONDS", 0.05)
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{moongate.port}", headers=moongate.client.headers) as client,
        client.ws_connect("/api/ws", autoping=False) as connection,
        asyncio.timeout(PATIENCE),
    ):
        while (await connection.receive()).type is WSMsgType.PING:
            pass

    assert connection.closed


async def test_revoking_a_token_ends_its_sockets_and_no_others(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "STREAM_HEARTBEAT_SECONDS", 2 * PATIENCE)
    secret = await token(moongate, "phone", "read")
    spent = await ticket(moongate, bearer=secret)
    async with (
        opened(moongate, bearer=secret) as by_header,
        opened(moongate, f"?ticket={spent}", bearer=None) as by_ticket,
        opened(moongate) as own,
    ):
        await ask(moongate, "DELETE", "/api/tokens/phone")
        codes = [await by_header.end(), await by_ticket.end()]
        await submit(moongate, "hi")
        await own.next()

    assert codes == [1008, 1008]


async def test_a_socket_ends_with_its_token_s_time(tmp_path: Path) -> None:
    moment = [1_900_000_000_000]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        secret = await token(served, "phone", "read", days=1)
        moment[0] += 86_400_000 - 200
        async with opened(served, bearer=secret) as socket:
            assert await socket.end() == 1008


async def test_when_the_gateway_closes_its_sockets_are_told_to_come_back(moongate: Serving) -> None:
    async with opened(moongate) as socket:
        moongate.context.closing.set()

        assert await socket.end() == 1012


async def test_a_socket_that_is_opened_while_the_gateway_closes_is_told_so_too(moongate: Serving) -> None:
    moongate.context.closing.set()
    async with opened(moongate) as socket:
        assert await socket.end() == 1012


async def test_trouble_ends_a_socket_and_says_what(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> Any:
        raise Unavailable("the disk refuses" + "é" * 100)

    monkeypatch.setattr(moongate.engine._store.events, "read_changes_after", broken)
    async with opened(moongate, "?after=0") as socket:
        message = await socket.connection.receive()

    assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    assert str(message.extra).startswith("the disk refuses")
    await until(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "websocket"], "no task is left")
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_a_reader_that_takes_nothing_is_dropped(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"limits": {"stall_seconds": 0.2}}) as served:
        await _fill(served, 12_000)
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        upgrade = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
        request = head("GET /api/ws?after=0", *upgrade).replace(b"Connection: close", b"Connection: Upgrade")
        writer.write(request)
        tasks = lambda: [task for task in asyncio.all_tasks() if task.get_name() == "websocket"]  # noqa: E731
        await until(tasks, "the reader is there")
        await until(lambda: not tasks(), "the reader is dropped")
        writer.transport.abort()

        assert not served.engine._hub._changes._waiting


async def _fill(served: Serving, changes: int) -> None:
    """Write so many changes, of which the kernel cannot hold all for a reader."""
    chat = "c" * 120

    def write(tx: Any) -> None:
        for number in range(changes):
            tx.execute(
                "INSERT INTO changes (topic, ref, state, agent, session, at) VALUES ('run', ?, 'queued', ?, ?, 0)",
                (f"{number}{chat * 4}", chat, chat),
            )

    await served.engine._store._database.write(write)


# --- tickets ----------------------------------------------------------------------------------


async def test_a_ticket_opens_one_socket(moongate: Serving) -> None:
    secret = await ticket(moongate)
    async with opened(moongate, f"?ticket={secret}", bearer=None) as socket:
        await submit(moongate, "hi")
        await socket.next()

    assert await refused(moongate, f"?ticket={secret}", bearer=None) == 401


async def test_a_token_in_the_url_is_refused_beside_a_ticket_too(moongate: Serving) -> None:
    secret = await ticket(moongate)

    assert await refused(moongate, f"?ticket={secret}&token={TOKEN}", bearer=None) == 400
    async with opened(moongate, f"?ticket={secret}", bearer=None):  # the ticket was not used up
        pass


async def test_of_ten_who_use_one_ticket_at_once_one_is_let_in(moongate: Serving) -> None:
    secret = await ticket(moongate)

    async def open_websocket() -> bool:
        try:
            async with opened(moongate, f"?ticket={secret}", bearer=None):
                return True
        except aiohttp.WSServerHandshakeError:
            return False

    assert sum(await asyncio.gather(*(open_websocket() for _ in range(10)))) == 1


async def test_a_ticket_is_good_for_thirty_seconds(tmp_path: Path) -> None:
    moment = [1_900_000_000_000]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        early, late = await ticket(served), await ticket(served)
        moment[0] += 29_999
        async with opened(served, f"?ticket={early}", bearer=None):
            pass
        moment[0] += 1

        assert await refused(served, f"?ticket={late}", bearer=None) == 401


async def test_a_ticket_outlives_a_restart_once(tmp_path: Path) -> None:
    async with serving(tmp_path / "home") as served:
        kept = await ticket(served, bearer=await token(served, "phone", "read"))
        spent = await ticket(served)
        async with opened(served, f"?ticket={spent}", bearer=None):
            pass
    async with serving(tmp_path / "home") as served:
        async with opened(served, f"?ticket={kept}", bearer=None) as socket:
            await submit(served, "hi")
            await socket.next()

        assert await refused(served, f"?ticket={spent}", bearer=None) == 401
    on_disk = b"".join(read_files(tmp_path / "home"))
    assert kept.encode() not in on_disk


async def test_a_ticket_ends_with_its_token(moongate: Serving) -> None:
    secret = await ticket(moongate, bearer=await token(moongate, "phone", "read"))
    await ask(moongate, "DELETE", "/api/tokens/phone")
    await token(moongate, "phone", "admin")  # another one of that name

    assert await refused(moongate, f"?ticket={secret}", bearer=None) == 401


async def test_a_ticket_opens_nothing_but_sockets(moongate: Serving) -> None:
    secret = await ticket(moongate)
    client = aiohttp.ClientSession(f"http://127.0.0.1:{moongate.port}")
    async with client, client.get(f"/api/tasks?ticket={secret}") as answer:
        assert answer.status == 401
    async with opened(moongate, f"?ticket={secret}", bearer=None):
        pass


async def test_the_same_idempotency_key_makes_the_ticket_anew(moongate: Serving) -> None:
    first = await ticket(moongate, Idempotency_Key="k")
    second = await ticket(moongate, Idempotency_Key="k")

    assert await refused(moongate, f"?ticket={first}", bearer=None) == 401
    async with opened(moongate, f"?ticket={second}", bearer=None):
        pass


async def test_the_eleventh_wrong_ticket_is_refused_unseen_and_a_right_one_passes(moongate: Serving) -> None:
    statuses = [await refused(moongate, "?ticket=wrong", bearer=None) for _ in range(11)]
    async with opened(moongate, f"?ticket={await ticket(moongate)}", bearer=None):
        pass

    assert statuses == [401] * 10 + [429]


async def test_where_everyone_is_let_in_a_ticket_does_no_harm(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"auth": {"mode": "none"}}}) as served:
        async with opened(served, f"?ticket={await ticket(served)}", bearer=None):
            pass
        async with opened(served, bearer=None):
            pass


async def test_a_ticket_s_answer_says_until_when(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", clock=lambda: 1_900_000_000_000) as served:
        made = await ask(served, "POST", "/api/tickets")
        bad = await raw(served, head("POST /api/tickets", bearer=None))

    assert made.body["expires_at"] == "2030-03-17T17:47:10.000Z"
    assert read(bad).status == 401
