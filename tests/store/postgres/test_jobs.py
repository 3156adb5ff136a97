"""Jobs are taken while the server is there, and a break of it leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import psycopg

from gateway.errors import Unavailable
from gateway.store.postgres.jobs import ProcrastinateQueue
from harness.postgres_server import PostgresServer
from harness.waiting import until
from tests.store.postgres.servers import prepare


async def test_jobs_that_end_while_the_server_is_away_are_left_without_a_word(server: PostgresServer) -> None:
    url = prepare(server)
    begun: list[str] = []
    may_end = asyncio.Event()
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def execute(run: str, *_: Any) -> None:
        begun.append(run)
        await may_end.wait()

    async def work() -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await ProcrastinateQueue(url).work(["agent:a"], 4, execute)

    working = asyncio.create_task(work())
    defer(url, "first")
    await until(lambda: begun == ["first"], "it is taken")
    server.stop()
    may_end.set()
    await asyncio.sleep(0.2)  # its end cannot be stored
    server.start()
    defer(url, "second")
    await until(lambda: begun == ["first", "second"], "the next one is taken")
    working.cancel()
    await asyncio.wait({working})
    del working
    gc.collect()

    assert told == []


def defer(url: str, run: str) -> None:
    arguments = f'{{"run": "{run}", "agent": "a", "epoch": 1, "at": 1}}'
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path = moongate")
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('agent:a', 'execute', %s)",
            [arguments],
        )
