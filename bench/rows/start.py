"""Time from the start of the process to the first answer."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import measure, servers
from bench.measure import Sample
from bench.report import Figure, Result, Row


def run(quick: bool) -> Result:
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        _start(home)  # creates the database, and fills the caches for both sides
        _start(None)
        slices = measure.pairs(lambda: _start(home), lambda: _start(None), 1 if quick else 15, lambda a, b: a / b)
    ratio = Sample.of(one / two for one, two in measure.halves(slices))
    ours, theirs = Sample.of(slices[::2]).median, Sample.of(slices[1::2]).median
    return Result(
        figures=[Figure(name="start -> /health 200 / bare aiohttp", sample=ratio, unit="x", reach=1.4)],
        notes=[f"gateway {ours * 1000:.0f} ms, bare aiohttp {theirs * 1000:.0f} ms; {len(slices) // 2} pairs."],
    )


def _start(home: Path | None) -> float:
    with servers.bare() if home is None else servers.gateway(home) as server:
        return server.took


ROW = Row(
    title="Cold start",
    setup="Time from the start of `python -m gateway` to the first 200 of `/health`, with requests as fast as possible,"
    " compared with the bare aiohttp server. The state directory exists; the bytecode is cached on both sides.",
    run=run,
)
