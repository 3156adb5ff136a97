"""Stalled readers, and readers over a restart: they delay nobody, and miss nothing when they come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import psutil

from bench import measure
from drills import Figures, client
from harness.live_gateway import Live
from harness.live_store import LiveStore
from harness.waiting import PATIENCE

#: MiB that a stalled reader may cost
COST = 1.0
#: milliseconds within which fast readers get a change, however many other readers stall
FAST = 250.0
#: bytes of one change, and number of changes for each reader: more than kernels buffer for a reader
WIDE, CHANGES = 2600, 4000

_UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n"
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="


def stalled_readers(directory: Path, readers: int = 20, back: int = 3, strict: bool = False) -> Figures:
    """Let readers of each kind stall: they are disconnected, cost little, and come back without a gap.

    Args:
        back: how many of each kind come back.
        strict: whether figures that depend on the machine are checked, too.
    """
    live = Live(directory / "home", {"limits": {"stall_seconds": 4}})
    live.start().stop()
    last = _fill(live.home / "data" / "moongate.db")
    live.start()
    who = psutil.Process(live.generation.pid)
    stalled: list[_Stalled] = []
    try:
        idle, before = len(_established(who, live.port)), measure.memory(who.pid)
        stalled += [_Stalled(live, kind) for _ in range(readers) for kind in ("events", "ws")]
        fast = _Fast(live, last)
        client.until(lambda: all(one.begun() for one in stalled), "all readers are there")
        most, tasks = before, 0
        while len(_established(who, live.port)) > idle + 4:
            client.accepted(live, "hello")
            most, tasks = max(most, measure.memory(who.pid)), tasks + 1
        late = fast.stop(3 * tasks)
        cost = (most - before) / len(stalled)
        assert cost <= COST, f"a stalled reader costs {cost:.2f} MiB"
        for one in stalled[: 2 * back]:
            seen = [*one.received(), *asyncio.run(_rest(live, one.kind, one.last, last))]
            assert seen == list(range(1, last + 1)), f"{one.kind}: {len(seen)} of {last}"
        p99 = measure.percentile(late, 0.99)
        assert not strict or p99 < FAST, f"p99 of fast readers: {p99:.0f} ms"
        return {
            "MiB a stalled reader": f"{cost:.2f}",
            "fast readers p99 ms": f"{p99:.0f}",
            "changes meanwhile": len(late),
            "resumed": 2 * back,
        }
    finally:
        for one in stalled:
            one.close()
        live.close()


def over_a_restart(directory: Path, restarts: int = 1, store: LiveStore | None = None) -> Figures:
    """Follow all changes and one task while the gateway restarts: sockets close with 1012, and nothing is missed."""
    live = Live(directory / "home", store=store).start()
    try:
        return asyncio.run(_follow_over_restarts(live, restarts))
    finally:
        live.close()


# --- stalled readers --------------------------------------------------------------------------


def _fill(database: Path) -> int:
    """Write too many changes to be sent to a reader that does not read; return the number of the last one."""
    connection = apsw.Connection(str(database))
    try:
        insert = (
            "INSERT INTO changes (topic, ref, state, agent, session, at) VALUES ('run', ?, 'queued', 'main', '', 0)"
        )
        with connection:
            connection.execute("DELETE FROM changes")
            connection.execute("DELETE FROM sqlite_sequence WHERE name = 'changes'")
            connection.executemany(insert, ((f"{number:0{WIDE}}",) for number in range(CHANGES)))
    finally:
        connection.close()
    return CHANGES


def _established(who: psutil.Process, port: int) -> list[Any]:
    return [one for one in who.net_connections("tcp") if one.status == "ESTABLISHED" and one.laddr[1] == port]


class _Stalled:
    """Asks for all changes, and reads nothing until it is disconnected."""

    def __init__(self, live: Live, kind: str) -> None:
        self.kind = kind
        self.last = 0
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self._socket.connect(("127.0.0.1", live.port))
        more = _UPGRADE.format(_KEY) if kind == "ws" else ""
        head = (
            f"GET /api/{kind}?after=0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {live.token}\r\n{more}\r\n"
        )
        self._socket.sendall(head.encode())

    def close(self) -> None:
        self._socket.close()

    def begun(self) -> bool:
        """Return whether data has come, without reading it."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False
        except ConnectionError:  # it was disconnected already
            return True

    def received(self) -> list[int]:
        """Return the numbers of the changes that came completely before it was disconnected."""
        data = bytearray()
        with contextlib.suppress(ConnectionError), self._socket:
            while chunk := self._socket.recv(1 << 16):
                data += chunk
        numbers = [int(part.partition(b",")[0]) for part in bytes(data).split(b'{"seq":')[1:] if part.count(b"}")]
        self.last = numbers[-1] if numbers else 0
        return numbers


async def _rest(live: Live, kind: str, after: int, last: int) -> list[int]:
    """Connect again, and return the numbers of the remaining changes."""
    numbers: list[int] = []
    async with asyncio.timeout(PATIENCE), _session(live) as session:
        if kind == "ws":
            async with session.ws_connect(f"/api/ws?after={after}", max_msg_size=0) as connection:
                while not numbers or numbers[-1] < last:
                    numbers.append(json.loads(await connection.receive_str())["seq"])
            return numbers
        async with session.get("/api/events", headers={"Last-Event-ID": str(after)}) as response:
            async for line in response.content:
                if line.startswith(b"id: "):
                    numbers.append(int(line[4:]))
                    if numbers[-1] == last:
                        break
    return numbers


def _session(live: Live) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        live.url, headers={"Authorization": f"Bearer {live.token}"}, read_bufsize=1 << 20, max_line_size=1 << 16
    )


class _Fast:
    """Two readers of each kind that read every change after a position at once, and record its delay."""

    def __init__(self, live: Live, after: int) -> None:
        self._live = live
        self._after = after
        self._late: list[float] = []
        self._ready = threading.Barrier(2)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read()))
        self._thread.start()
        self._ready.wait(PATIENCE)

    def stop(self, least: int) -> list[float]:
        """Wait until each reader has `least` changes; return the delays in milliseconds."""
        client.until(lambda: len(self._late) >= 4 * least, "fast readers have all changes")
        self._stopping.set()
        self._thread.join()
        return self._late

    async def _read(self) -> None:
        async with _session(self._live) as session, contextlib.AsyncExitStack() as opened:
            after = f"after={self._after}"
            sockets = [await opened.enter_async_context(session.ws_connect(f"/api/ws?{after}")) for _ in range(2)]
            streams = [await opened.enter_async_context(session.get(f"/api/events?{after}")) for _ in range(2)]
            readers = [asyncio.create_task(self._from_socket(one)) for one in sockets]
            readers += [asyncio.create_task(self._from_stream(one)) for one in streams]
            self._ready.wait(PATIENCE)
            await asyncio.to_thread(self._stopping.wait)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _from_socket(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            self._note(json.loads(await connection.receive_str()))

    async def _from_stream(self, response: aiohttp.ClientResponse) -> None:
        async for line in response.content:
            if line.startswith(b"data: "):
                self._note(json.loads(line[6:]))

    def _note(self, change: dict[str, Any]) -> None:
        self._late.append(time.time() * 1000 - change["at"])


# --- over restarts ----------------------------------------------------------------------------


async def _follow_over_restarts(live: Live, restarts: int) -> Figures:
    async with _session(live) as session:
        run = await asyncio.to_thread(client.accepted, live, f"@@ words {15 * restarts} 0.2")
        all_changes, all_in_frames = _Follower(session, "/api/ws"), _Follower(session, "/api/events")
        one_task = _Follower(session, f"/api/tasks/{run}/events")
        followers = [all_changes, all_in_frames, one_task]
        following = [asyncio.create_task(one.follow()) for one in followers]
        for _ in range(restarts):
            await _until(lambda: all(one.seen for one in followers), "all follow")
            known = live.health["generation"]
            await asyncio.to_thread(live.call, "POST", "/api/gateway/restart", {})
            await _until(lambda known=known: live.health["generation"] > known, "the next one serves")
            await asyncio.to_thread(client.accepted, live, "hello")
        await asyncio.to_thread(client.wait_idle, live)
        newest = int((await asyncio.to_thread(client.show, live, run))["last_event"])
        await _until(lambda: one_task.seen[-1] == newest, "the task's end is seen")
        await _until(lambda: all_changes.seen[-1:] == all_in_frames.seen[-1:], "both see the same")
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    assert one_task.seen == list(range(1, newest + 1)), one_task.seen
    assert all_changes.seen == all_in_frames.seen == list(range(1, len(all_changes.seen) + 1)), all_changes.seen
    assert set(all_changes.ends) == {1012}, all_changes.ends  # more than once if a kept connection was used again
    return {"restarts": restarts, "changes": len(all_changes.seen), "events of the task": newest}


class _Follower:
    """Follows a stream or a socket from its beginning, and connects again whenever it ends."""

    def __init__(self, session: aiohttp.ClientSession, path: str) -> None:
        self._session = session
        self._path = path
        #: numbers of the changes that came, and how each connection ended
        self.seen: list[int] = []
        self.ends: list[int | None] = []

    async def follow(self) -> None:
        while True:
            path = f"{self._path}?after={self.seen[-1] if self.seen else 0}"
            with contextlib.suppress(aiohttp.ClientConnectionError):
                await (self._by_socket if self._path.endswith("ws") else self._by_stream)(path)

    async def _by_socket(self, path: str) -> None:
        async with self._session.ws_connect(path) as connection:
            async for message in connection:
                self.seen.append(json.loads(message.data)["seq"])
            self.ends.append(connection.close_code)

    async def _by_stream(self, path: str) -> None:
        async with self._session.get(path) as response:
            async for line in response.content:
                if line.startswith(b"id: "):
                    self.seen.append(int(line[4:]))
        await asyncio.sleep(0.05)  # an ended task's stream ends at once each time


async def _until(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(client.until, condition, what)
