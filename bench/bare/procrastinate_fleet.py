"""Procrastinate alone, with workers in processes of their own. Arguments: URL, number of jobs, clients, workers.

Clients defer jobs that do nothing, as fast as they can, while the workers do them; each worker has as many places as
there are clients. Prints how many jobs were deferred in a second, and how many were done in a second, from the first
one deferred to the last one done. Without workers the jobs are deferred only, and deleted.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

from procrastinate import App, PsycopgConnector

URL, COUNT, CLIENTS, WORKERS = sys.argv[1], *map(int, sys.argv[2:5])
#: jobs done before the slice
WARM_UP_JOBS = 40
#: seconds between two looks whether all is done
LOOK_SECONDS = 0.02
app = App(connector=PsycopgConnector(conninfo=URL, min_size=2, max_size=CLIENTS))


@app.task(name="execute", queue="agent:main")
async def execute(run: str, epoch: int) -> None: ...


async def work() -> None:
    async with app.open_async():
        await app.run_worker_async(queues=["agent:main"], concurrency=CLIENTS, delete_jobs="always")


async def defer(count: int) -> None:
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            await execute.defer_async(run=f"run{number}", epoch=1)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def wait_until(table: str, count: int) -> None:
    query = f"SELECT count(*) AS count FROM {table}"
    while (await app.connector.execute_query_one_async(query))["count"] != count:
        await asyncio.sleep(LOOK_SECONDS)


async def measure() -> None:
    async with app.open_async():
        await app.connector.execute_query_async("DELETE FROM procrastinate_workers")
        workers = [subprocess.Popen([sys.executable, *sys.argv, "worker"]) for _ in range(WORKERS)]
        try:
            await wait_until("procrastinate_workers", WORKERS)
            await defer(WARM_UP_JOBS)
            if workers:
                await wait_until("procrastinate_jobs", 0)
            began = time.perf_counter()
            await defer(COUNT)
            deferred = COUNT / (time.perf_counter() - began)
            if workers:
                await wait_until("procrastinate_jobs", 0)
            print(deferred, COUNT / (time.perf_counter() - began))
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()
            await app.connector.execute_query_async("DELETE FROM procrastinate_jobs")


asyncio.run(work() if sys.argv[5:] else measure())
