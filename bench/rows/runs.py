"""Complete runs, from `submit` to a settled end on disk."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench import inside
from bench.measure import Sample
from bench.report import Figure, Result, Row

CLIENTS = 32


def run(quick: bool) -> Result:
    with tempfile.TemporaryDirectory() as place:
        rates, costs = asyncio.run(_slices(Path(place), *((1, 2) if quick else (9, 100))))
    rate, cost = Sample.of(rates), Sample.of(costs)
    return Result(
        figures=[
            Figure(name="durable runs, no-op agent", sample=rate, unit="/s", reach=3000.0, at_most=False),
        ],
        notes=[f"{cost.median:.0f} us CPU a run, all threads; {len(rates)} slices."],
    )


async def _slices(home: Path, count: int, each: int) -> tuple[list[float], list[float]]:
    rates, costs = [], []
    async with inside.engine(home) as (engine, _):

        async def client(number: int) -> None:
            for _ in range(each):
                accepted = await engine.runs.submit_run(inside.message(number))
                ended = await engine.runs.wait_for_run(accepted.run.id, 30)
                assert ended.result == "ok"

        for _ in range(count):
            used, began = time.process_time(), time.perf_counter()
            await asyncio.gather(*(client(number) for number in range(CLIENTS)))
            runs = CLIENTS * each
            rates.append(runs / (time.perf_counter() - began))
            costs.append((time.process_time() - used) / runs * 1e6)
    return rates, costs


ROW = Row(
    title="Durable runs",
    setup=f"In process: {CLIENTS} clients, each in its own session, submit a run, wait for its end and submit the"
    " next. The agent answers `ok` at once. Every run is accepted, claimed and settled on disk.",
    run=run,
)
