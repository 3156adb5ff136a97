"""Procrastinate alone: defers jobs that do nothing, then works on them. Arguments: URL, number of jobs, clients.

Prints how many it deferred in a second, and how many it did in a second.
"""

from __future__ import annotations

import asyncio
import sys
import time

from procrastinate import App, PsycopgConnector

URL, COUNT, CLIENTS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
app = App(connector=PsycopgConnector(conninfo=URL, min_size=CLIENTS, max_size=CLIENTS))


@app.task(name="execute", queue="agent:main")
async def execute(run: str, epoch: int) -> None: ...


async def main() -> None:
    async with app.open_async():
        numbers = iter(range(COUNT))

        async def client() -> None:
            for number in numbers:
                await execute.defer_async(run=f"run{number}", epoch=1)

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        deferred = COUNT / (time.perf_counter() - began)
        began = time.perf_counter()
        await app.run_worker_async(
            queues=["agent:main"],
            concurrency=CLIENTS,
            install_signal_handlers=False,
            wait=False,
            delete_jobs="always",
        )
        print(deferred, COUNT / (time.perf_counter() - began))


asyncio.run(main())
