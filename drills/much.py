"""A large store: the start does not get slower, nor the lists, and memory does not grow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from drills import Figures
from gateway.domain.event import Text
from gateway.domain.queue import RunLimits
from gateway.domain.run import AttemptResult, Move, Outcome, Run, RunSpec, Source
from gateway.domain.times import wall_clock
from gateway.store.sqlite.store import SqliteStore
from harness.live_gateway import Live

#: one in so many runs fails, belongs to the other agent, has a label
FAILED, OTHER, LABELLED = 11, 4, 7
#: number of runs that wait for a day far in the future
DELAYED = 20
#: number of runs that are submitted together
TOGETHER = 500
#: seconds for the start, milliseconds for the 99th percentile of answers, megabytes of all its processes
START, P99, MEMORY = 3.0, 100.0, 150.0

_FAR = 4_000_000_000_000
_AGENTS = {"agents": {"list": [{"id": name, "backend": "echo", "max_concurrent": 1000} for name in ("main", "other")]}}


def is_kept(
    directory: Path, sessions: int = 150, runs: int = 1500, calls: int = 1, limit: int = 100, *, strict: bool = False
) -> Figures:
    """Fill a store, serve it, and read all its lists from beginning to end.

    Args:
        calls: number of requests for each kind of list.
        limit: rows of a page.
        strict: whether to check the times and the memory.
    """
    live = Live(directory / "home", _AGENTS)
    specs = [make_spec(number, number % sessions) for number in range(runs)]
    began = time.monotonic()
    asyncio.run(fill_store(live.home / "data" / "moongate.db", specs))
    filled = time.monotonic() - began
    try:
        began = time.monotonic()
        live.start()
        ready = time.monotonic() - began
        _all_is_listed_once(live, specs, limit)
        took = {path: sorted(_times(live, path, calls)) for path in _paths(live)}
        memory = _memory(live) / 1e6
        assert live.logged("library.asyncio") == []
        assert live.stop() == 0
    finally:
        live.close()
    slowest = {path: times[min(len(times) - 1, len(times) * 99 // 100)] for path, times in took.items()}
    worst = max(slowest, key=lambda path: slowest[path])
    if strict:
        assert slowest[worst] < P99, slowest
        assert ready <= START, ready
        assert memory < MEMORY, memory
    return {
        "sessions": sessions,
        "runs": runs,
        "filled in s": round(filled, 1),
        "start s": round(ready, 2),
        "lists, worst p99 ms": f"{slowest[worst]:.1f} ({worst})",
        "MB": round(memory),
    }


# --- filling ----------------------------------------------------------------------------------


def make_spec(number: int, session: int) -> RunSpec:
    agent = "other" if session % OTHER == 0 else "main"
    return RunSpec(
        source=Source.TASK,
        agent=agent,
        session=f"{agent}:task:{session}",
        input=f"What is task number {number}? This message has an ordinary length.",
        labels={"batch": str(number % 3)} if number % LABELLED == 0 else {},
        run_at=_FAR if number < DELAYED else None,
    )


async def fill_store(database: Path, specs: list[RunSpec]) -> None:
    """Submit runs and end them, as an engine does: through the store's own methods."""
    database.parent.mkdir(parents=True)
    store = SqliteStore(database, clock=wall_clock)
    limits = RunLimits(total=TOGETHER, agents={"main": TOGETHER, "other": TOGETHER})
    try:
        for first in range(0, len(specs), TOGETHER):
            await asyncio.gather(*(store.runs.accept(spec) for spec in specs[first : first + TOGETHER]))
            while claimed := await store.runs.claim("nobody", limits):
                await asyncio.gather(*(store.runs.finish(run.id, run.epoch, _verdict(run), _SAID) for run in claimed))
    finally:
        await store.close()


_SAID = [Text(delta="It was done, ") for _ in range(3)]


def _verdict(run: Run) -> AttemptResult:
    if _fails(run.seq):
        return AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="it did not work")
    return AttemptResult(move=Move.SUCCEED, outcome=Outcome.COMPLETED, result="It was done, " * 3)


def _fails(seq: int) -> bool:
    return seq % FAILED == 0


# --- reading ----------------------------------------------------------------------------------


def _all_is_listed_once(live: Live, specs: list[RunSpec], limit: int) -> None:
    """Check lists page by page: each has all its entries once, in the right order."""
    late = specs[DELAYED:]
    expected = {
        "": [spec.input for spec in specs],
        "agent=other": [spec.input for spec in specs if spec.agent == "other"],
        "label=batch": [spec.input for spec in specs if spec.labels],
        "label=batch%3D1": [spec.input for spec in specs if spec.labels == {"batch": "1"}],
        "status=queued": [spec.input for spec in specs[:DELAYED]],
        "status=failed": [spec.input for number, spec in enumerate(late, DELAYED + 1) if _fails(number)],
        f"session={specs[-1].session}": [spec.input for spec in specs if spec.session == specs[-1].session],
    }
    for query, inputs in expected.items():
        listed = [task["input"] for task in _walked(live, f"/api/tasks?{query}", "tasks", limit)]
        assert listed == inputs[::-1], (query, len(listed), len(inputs))
    keys = [session["key"] for session in _walked(live, "/api/sessions?", "sessions", limit)]
    assert sorted(keys) == sorted({spec.session for spec in specs}), len(keys)


def _walked(live: Live, path: str, name: str, limit: int) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = live.call("GET", f"{path}&limit={limit}{cursor}").body
        yield from page[name]
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"


def _paths(live: Live) -> Iterable[str]:
    """Return paths of lists that people read: from the beginning, from the middle, with several filters."""
    everything = live.call("GET", "/api/tasks?limit=1").body["next_cursor"]
    middle = int(everything) // 2
    session = live.call("GET", "/api/sessions?limit=1").body["sessions"][0]["key"]
    queries = ["", "status=failed", "status=running", "agent=other", "agent=nobody", "label=batch", "label=batch%3D1",
               "status=failed&agent=other", "status=running&agent=main", "status=cancelled&label=batch",
               "status=queued&agent=other", f"session={session}", f"session={session}&status=failed",
               f"cursor={middle}", f"cursor={middle}&agent=other"]  # fmt: skip
    return [
        *(f"/api/tasks?{query}" for query in queries),
        "/api/tasks?limit=500",
        "/api/sessions",
        f"/api/sessions?cursor={middle // 10}",
        f"/api/sessions/{session}",
        "/api/search?q=message",
        "/api/search?q=nowhere",
        "/api/deliveries",
        "/api/agents",
        "/api/usage",
        "/health",
        "/metrics",
    ]


def _times(live: Live, path: str, calls: int) -> Iterator[float]:
    """Yield the milliseconds that each answer took."""
    for _ in range(calls):
        began = time.monotonic()
        answer = live.call("GET", path)
        yield (time.monotonic() - began) * 1000
        assert answer.status == 200, (path, answer)


def _memory(live: Live) -> int:
    assert live.process is not None
    supervisor = psutil.Process(live.process.pid)
    return sum(int(one.memory_info().rss) for one in (supervisor, *supervisor.children()))
