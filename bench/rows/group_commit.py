"""The gain of group commits."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench import inside, measure
from bench.measure import Sample
from bench.report import Figure, Result, Row
from gateway.store.sql import database
from gateway.store.sqlite.store import SqliteStore

CLIENTS = 64


def run(quick: bool) -> Result:
    seconds, count = (0.05, 1) if quick else (0.7, 9)
    with tempfile.TemporaryDirectory() as place:
        together, alone = Path(place, "together.db"), Path(place, "alone.db")
        slices = measure.pairs(
            lambda: asyncio.run(_accept(together, database.MAX_BATCH_OPERATIONS, seconds)),
            lambda: asyncio.run(_accept(alone, 1, seconds)),
            count,
            lambda a, b: a / b,
        )
        floor = inside.sync_time(Path(place))
    ratio = Sample.of(one / two for one, two in measure.halves(slices))
    ours, theirs = Sample.of(slices[::2]).median, Sample.of(slices[1::2]).median
    return Result(
        figures=[
            Figure(name="group commit / one commit a request", sample=ratio, unit="x", reach=2.0, at_most=False),
        ],
        notes=[
            f"{ours:,.0f}/s together, {theirs:,.0f}/s alone; {len(slices) // 2} pairs.",
            f"One write of 4 KiB with fdatasync takes {floor:.2f} ms on this disk.",
        ],
    )


async def _accept(path: Path, batch: int, seconds: float) -> float:
    """Accept runs for `seconds` with at most `batch` in a transaction; return the number per second."""
    store = SqliteStore(path, queue_limit=100_000_000)
    usual, database.MAX_BATCH_OPERATIONS = database.MAX_BATCH_OPERATIONS, batch
    done, until = 0, time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await store.runs.accept(inside.message(number))
            done += 1

    began = time.perf_counter()
    try:
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        return done / (time.perf_counter() - began)
    finally:
        await store.close()
        database.MAX_BATCH_OPERATIONS = usual


ROW = Row(
    title="Group commit",
    setup=f"In process, on the store: {CLIENTS} tasks accept runs, with the usual batches and with one operation in a"
    " transaction.",
    run=run,
)
