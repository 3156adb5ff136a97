"""The store on a PostgreSQL server, compared with Procrastinate alone on the same server."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from procrastinate import App, PsycopgConnector

from bench import inside, measure
from bench.measure import Sample
from bench.report import Figure, Result, Row
from bench.servers import ROOT
from gateway.domain.ports.store import Commit
from gateway.domain.queue import RunLimits
from gateway.domain.run import AttemptResult, Move, Outcome
from gateway.store.postgres.store import PostgresStore
from harness.postgres_server import find_programs, running_server

#: clients that accept; clients whose runs are done
ACCEPTING_CLIENTS, RUNNING_CLIENTS = 64, 32
LIMITS = RunLimits(total=1_000_000, agents={"main": 1_000_000})


class Rates(NamedTuple):
    """What one side does in a second."""

    #: runs accepted, or jobs deferred, by many clients
    accepted: float
    #: runs done from acceptance to end, or jobs done that were deferred before
    done: float
    #: runs accepted by one client
    accepted_by_one: float = 0.0


def run(quick: bool) -> Result:
    programs = find_programs()
    if programs is None:
        return Result(skipped="PostgreSQL is not installed")
    jobs, count = (20, 1) if quick else (600, 4)
    with running_server(programs, durable=True) as server:
        ours, theirs = server.create_database("ours"), server.create_database("theirs")
        asyncio.run(prepare_peer(theirs))
        slices = measure.pairs(
            lambda: asyncio.run(_measure_store(ours, jobs)),
            lambda: _measure_peer(theirs, jobs),
            count,
            lambda one, two: one.done / two.done,
        )
    pairs = list(measure.halves(slices))
    own, peer = slices[::2], slices[1::2]
    accepting = Sample.of(one.accepted / two.accepted for one, two in pairs)
    doing = Sample.of(one.done / two.done for one, two in pairs)
    alone = Sample.of(rates.accepted_by_one for rates in own).median
    return Result(
        figures=[
            Figure(name="PostgreSQL: accept / defer", sample=accepting, unit="x", reach=0.6, at_most=False),
            Figure(name="PostgreSQL: whole run / job", sample=doing, unit="x", reach=0.6, at_most=False),
        ],
        notes=[
            f"{Sample.of(rates.accepted for rates in own).median:,.0f} accepts/s with {ACCEPTING_CLIENTS} clients,"
            f" {alone:,.0f}/s with one; {Sample.of(rates.done for rates in own).median:,.0f} runs/s with"
            f" {RUNNING_CLIENTS} clients; {len(pairs)} pairs.",
            f"Procrastinate: {Sample.of(rates.accepted for rates in peer).median:,.0f} defers/s with"
            f" {RUNNING_CLIENTS} clients; {Sample.of(rates.done for rates in peer).median:,.0f} jobs/s in one worker.",
        ],
    )


# --- the store --------------------------------------------------------------------------------


async def _measure_store(url: str, jobs: int) -> Rates:
    async with _open_store(url) as store:
        alone = await _accept(store, max(jobs // 10, 1), 1)
        accepted = await _accept(store, jobs, ACCEPTING_CLIENTS)
        while runs := await store.runs.claim("bench", LIMITS):
            await asyncio.gather(*(_finish(store, run.id, run.epoch) for run in runs))
        return Rates(accepted, await _do_runs(store, jobs), alone)


@contextlib.asynccontextmanager
async def _open_store(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, queue_limit=100_000_000)
    try:
        yield store
    finally:
        await store.close()


async def _accept(store: PostgresStore, count: int, clients: int) -> float:
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            await store.runs.accept(inside.message(number % 500))

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return count / (time.perf_counter() - began)


async def _finish(store: PostgresStore, run: str, epoch: int) -> None:
    result = AttemptResult(move=Move.SUCCEED, outcome=Outcome.COMPLETED, result="ok")
    await store.runs.finish(run, epoch, result, [])


async def _do_runs(store: PostgresStore, count: int) -> float:
    """Accept runs, finish them as soon as they are claimed, and wait for their ends; return the number per second."""
    numbers = iter(range(count))
    ended: dict[str, asyncio.Event] = {}
    finishing: set[asyncio.Task[None]] = set()

    def hear(commit: Commit) -> None:
        for claimed in commit.claimed:
            finishing.add(task := asyncio.ensure_future(_finish(store, claimed.run.id, claimed.run.epoch)))
            task.add_done_callback(finishing.discard)
        for one in commit.ended:
            ended.setdefault(one.id, asyncio.Event()).set()

    async def client(name: int) -> None:
        for _ in numbers:
            accepted = await store.runs.accept(inside.message(name))
            await ended.setdefault(accepted.run.id, asyncio.Event()).wait()

    store.subscribe(hear)
    store.claim_at_commit("bench", LIMITS)
    began = time.perf_counter()
    await asyncio.gather(*(client(name) for name in range(RUNNING_CLIENTS)))
    taken = time.perf_counter() - began
    await asyncio.gather(*finishing)
    return count / taken


# --- Procrastinate ----------------------------------------------------------------------------


async def prepare_peer(url: str) -> None:
    """Make Procrastinate's tables in a database."""
    app = App(connector=PsycopgConnector(conninfo=url, min_size=1, max_size=1))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


def _measure_peer(url: str, jobs: int) -> Rates:
    command = [
        sys.executable,
        str(ROOT / "bench" / "bare" / "procrastinate_jobs.py"),
        url,
        str(jobs),
        str(RUNNING_CLIENTS),
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    deferred, done = map(float, said.split())
    return Rates(deferred, done)


ROW = Row(
    title="PostgreSQL",
    setup="In process, on the store, and a durable server of its own on a socket. A whole run is accepted, claimed and"
    " finished, three writes; a job of Procrastinate is deferred before, and only fetched and deleted.",
    run=run,
)
