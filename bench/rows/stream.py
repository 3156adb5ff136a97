"""Time from an agent's first words to whoever follows its run."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench import inside, measure
from bench.measure import Sample
from bench.report import Figure, Result, Row
from gateway.domain.event import BackendEvent, Text
from gateway.domain.ports.backend import FullReply, SessionRef, Turn
from gateway.engine.execution import recorder

#: pieces of an answer, and seconds between two of them, as a model writes words
PIECES, PIECE_SECONDS = 40, 0.01
#: runs at a time, where CPU is measured
TALKERS = 8


class Talker(inside.Noop):
    """An agent that writes an answer in many pieces."""

    async def stream_turn(self, turn: Turn) -> AsyncIterator[BackendEvent | SessionRef | FullReply]:
        self.began = time.perf_counter()
        for _ in range(PIECES):
            yield Text(delta="word ")
            await asyncio.sleep(PIECE_SECONDS)


def run(quick: bool) -> Result:
    with tempfile.TemporaryDirectory() as place:
        first, costs = asyncio.run(_slices(Path(place), *((2, 1) if quick else (60, 7))))
    p50, cost = Sample.of(first), Sample.of(costs)
    return Result(
        figures=[
            Figure(name="first words -> a reader has them: p50", sample=p50, unit="ms", reach=_batch() + 5.0),
            Figure(name="the same: p99", sample=Sample.exactly(measure.percentile(first, 0.99)), unit="ms"),
        ],
        notes=[
            f"The first words are gathered for {_batch():g} ms before they are stored and sent, later ones for"
            f" {recorder.GATHER_SECONDS * 1000:g} ms; {len(first)} runs in an idle gateway.",
            f"{cost.median:.0f} us CPU for an answer of {PIECES} words in {PIECES * PIECE_SECONDS:g} s,"
            f" {TALKERS} at a time; {len(costs)} slices.",
        ],
    )


def _batch() -> float:
    """Return the milliseconds for which words are gathered."""
    return recorder.FIRST_GATHER_SECONDS * 1000


async def _slices(home: Path, count: int, slices: int) -> tuple[list[float], list[float]]:
    talker = Talker()
    first: list[float] = []
    costs: list[float] = []
    async with inside.engine(home, talker) as (engine, _):

        async def ask(number: int) -> float:
            """Return the milliseconds from the first words of a run to their reader."""
            accepted = await engine.runs.submit_run(inside.message(number))
            told = 0.0
            async for event in engine.runs.watch_run(accepted.run.id):
                if not told and isinstance(event.data, Text):
                    told = time.perf_counter()
            return (told - talker.began) * 1000

        first += [await ask(0) for _ in range(count)]
        for _ in range(slices):
            used = time.process_time()
            await asyncio.gather(*(ask(number) for number in range(TALKERS)))
            costs.append((time.process_time() - used) / TALKERS * 1e6)
    return first, costs


ROW = Row(
    title="First words",
    setup="In process: from the first piece of text that an agent yields to the first event with it that a reader of"
    f" the run gets. The agent yields {PIECES} pieces, one each {PIECE_SECONDS * 1000:g} ms.",
    run=run,
)
