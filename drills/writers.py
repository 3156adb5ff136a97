"""Two generations on one store, both writing as fast as they can: neither starves."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

from drills import Figures
from gateway.domain.run import RunSpec, Source
from gateway.domain.times import wall_clock
from gateway.store.sqlite.store import SqliteStore

#: number of callers in each process; each accepts one run after the other
CALLERS = 16
#: longest wait in seconds; a caller that waits longer is refused
LONGEST = 5.0


def two(directory: Path, seconds: float = 1.0, share: float | None = None) -> Figures:
    """Let two processes accept runs into one database.

    Args:
        share: smallest allowed ratio of the slower process's count to the faster one's; with it, a run without the
            pause between batches is measured, too. None only checks that both make progress.
    """
    first, second, worst = _measure(directory / "with", seconds, "shared")
    assert min(first, second) > 0
    figures = {"accepted by the one and the other": f"{first} and {second}", "longest wait ms": round(worst * 1000)}
    if share is None:
        return figures
    assert worst < LONGEST, worst
    assert min(first, second) >= share * max(first, second), (first, second)
    alone = _measure(directory / "without", seconds, "")
    return {
        **figures,
        "without the pause": f"{alone[0]} and {alone[1]}",
        "longest wait then ms": round(alone[2] * 1000),
    }


def _measure(directory: Path, seconds: float, shared: str) -> tuple[int, int, float]:
    """Return how many runs each process accepted, and the longest wait in seconds."""
    directory.mkdir()
    words = [sys.executable, "-m", "drills.writers", str(directory), str(seconds), shared]
    both = [_ready(words), _ready(words)]
    for one in both:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    (first, a), (second, b) = (json.loads(one.communicate(timeout=60 + seconds)[0]) for one in both)
    return first, second, max(a, b)


def _ready(words: list[str]) -> subprocess.Popen[str]:
    root = Path(__file__).parents[1]
    started = subprocess.Popen(words, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


async def _write(directory: Path, seconds: float, shared: bool) -> tuple[int, float]:
    """Accept runs for `seconds` seconds; return how many, and the longest wait in seconds."""
    store = SqliteStore(directory / "moongate.db", clock=wall_clock)
    store.set_concurrent_writer(shared)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    over = time.monotonic() + seconds
    waits: list[float] = []

    async def call(number: int) -> None:
        while (began := time.monotonic()) < over:
            await store.runs.accept(_spec(f"main:test:{number}"))
            waits.append(time.monotonic() - began)

    try:
        await asyncio.gather(*(call(number) for number in range(CALLERS)))
    finally:
        await store.close()
    return len(waits), max(waits)


def _spec(session: str) -> RunSpec:
    return RunSpec(source=Source.TASK, agent="main", session=session, input="hello")


if __name__ == "__main__":
    place, duration, how = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(_write(Path(place), float(duration), bool(how)))) + "\n")
