"""How the server closes: nobody is reset, and who waits hears what becomes of the run."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway.api import server
from gateway.api.server import ApiServer
from harness.waiting import PATIENCE, until
from tests.support.hurrying import Hurry
from tests.support.inprocess import Serving, serving


async def say(served: Serving, message: str) -> tuple[int, str, Any]:
    async with served.client.post("/api/agent", json={"message": message, "session": message}) as response:
        return response.status, response.headers.get("Connection", ""), await response.json()


async def test_everyone_is_answered_when_the_server_closes(
    tmp_path: Path, hurry: Hurry, pace: asyncio.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a quick run gets its answer; who waits for a slow one, the run's id."""
    monkeypatch.setattr(server, "LAST_ANSWERS_SECONDS", PATIENCE)

    async def in_time(served: Serving) -> None:
        await served.context.closing.wait()
        pace.release()
        await asyncio.wait({quick})
        hurry(30)

    async with serving(tmp_path / "home", grace=30) as served:
        quick = asyncio.create_task(say(served, "@@ sleep 1"))
        slow = asyncio.create_task(say(served, "@@ hang"))
        await until(lambda: len(served.engine._worker.current_run_ids) == 2, "both are at work")
        closing = asyncio.create_task(in_time(served))
    await closing
    done, cut = quick.result(), slow.result()

    assert (done[:2], done[2]["status"]) == ((200, "close"), "ok")
    assert (cut[:2], cut[2]["error"]["code"]) == ((503, "close"), "UNAVAILABLE")
    assert cut[2]["error"]["details"]["run_id"]


async def test_a_connection_that_is_kept_is_answered_and_then_closed(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", grace=5.0) as served:
        async with served.client.get("/livez") as before:
            await before.read()
        served.context.closing.set()
        async with served.client.get("/livez") as after:
            await after.read()

    assert (before.headers.get("Connection"), after.headers["Connection"]) == (None, "close")
    assert (before.status, after.status) == (200, 200)


async def test_a_run_that_was_cut_off_is_done_with_the_next_start(tmp_path: Path, pace: asyncio.Semaphore) -> None:
    async with serving(tmp_path / "home") as served:
        async with served.client.post("/api/tasks", json={"input": "@@ sleep 1\n@@ say done"}) as response:
            task = (await response.json())["task"]["id"]
        await until(lambda: served.engine._worker.current_run_ids, "it is at work")
    pace.release()
    async with serving(tmp_path / "home") as served:
        ended = await served.engine.runs.wait_for_run(task, PATIENCE)

    assert (ended.status, ended.result, ended.attempt) == ("succeeded", "done", 2)


async def test_the_server_is_quiet_when_the_last_of_several_requests_is_answered(moongate: Serving) -> None:
    opened = ApiServer(moongate.context)
    opened._count_request_in()
    opened._count_request_in()
    opened._count_request_out()
    after_one = opened._quiet.is_set()
    opened._count_request_out()

    assert (after_one, opened._quiet.is_set()) == (False, True)


class Watched(socket.socket):
    """Notes whenever it, or a copy of it, is told to block or not to."""

    told: list[float | None]

    def setblocking(self, flag: bool, /) -> None:
        self.told.append(None if flag else 0.0)
        super().setblocking(flag)

    def settimeout(self, value: float | None, /) -> None:
        self.told.append(value)
        super().settimeout(value)


async def test_who_opens_never_makes_the_socket_block_for_others_that_share_it(tmp_path: Path) -> None:
    """A process that lost the race for a connection would hang in accept until the next one."""
    Watched.told = []
    async with serving(tmp_path / "home") as served:
        with Watched(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            opened = ApiServer(served.context)
            await opened.start_serving(listener)
            await opened.close(0.0, _nothing_runs, handed_over=False)

    assert Watched.told
    assert set(Watched.told) == {0.0}


async def _nothing_runs(seconds: float) -> None:
    pass
