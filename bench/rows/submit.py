"""Time from `submit` to the agent's first step in an idle gateway."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench import inside, measure
from bench.measure import Sample
from bench.report import Figure, Result, Row

#: seconds between runs, so that the gateway is idle before each
PAUSE = 0.005


def run(quick: bool) -> Result:
    with tempfile.TemporaryDirectory() as place:
        taken = asyncio.run(_submit(Path(place), 10 if quick else 1500))
        floor = inside.sync_time(Path(place))
    part = max(len(taken) // 10, 1)
    parts = [taken[start : start + part] for start in range(0, len(taken), part)]
    p50 = Sample.of(measure.percentile(some, 0.5) for some in parts)
    p99 = measure.percentile(taken, 0.99)
    return Result(
        figures=[
            Figure(name="idle submit -> run starts: p50", sample=p50, unit="ms", reach=1.2),
            Figure(name="idle submit -> run starts: p99", sample=Sample.exactly(p99), unit="ms", reach=4.0),
        ],
        notes=[
            f"{len(taken)} runs, one after the other; one commit each (accepted and claimed) before the agent starts.",
            f"One write of 4 KiB with fdatasync takes {floor:.2f} ms on this disk.",
        ],
    )


async def _submit(home: Path, count: int) -> list[float]:
    taken = []
    async with inside.engine(home) as (engine, agent):
        for number in range(count):
            agent.asked.clear()
            began = time.perf_counter()
            accepted = await engine.runs.submit_run(inside.message(number % 16))
            await agent.asked.wait()
            taken.append((agent.began - began) * 1000)
            await engine.runs.wait_for_run(accepted.run.id, 30)
            await asyncio.sleep(PAUSE)
    return taken[count // 10 :]


ROW = Row(
    title="Idle submit to start",
    setup="In process: from the call of `Runs.submit_run` to the first line of the agent's turn, with nothing else"
    " running. The spread of the p50 is over ten parts of the run.",
    run=run,
)
