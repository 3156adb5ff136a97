"""A large store: the start does not get slower, nor the lists, and memory does not grow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from drills import Figures, upkeep
from drills.large_store import multiply_store
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
#: milliseconds for the 99th percentile of the totals: the limit is 10, and a measurement has its spread
WORK_P99 = 30.0
#: milliseconds over which all runs have ended: less than a day, so that the totals count each of them
SPAN_MILLISECONDS = 20 * 3600 * 1000

_FAR = 4_000_000_000_000
_AGENTS = {"agents": {"list": [{"id": name, "backend": "echo", "max_concurrent": 1000} for name in ("main", "other")]}}


def is_kept(
    directory: Path,
    sessions: int = 50,
    runs: int = 300,
    copies: int = 3,
    calls: int = 1,
    limit: int = 100,
    seconds: float = 0.05,
    accepts: int = 50,
    *,
    strict: bool = False,
) -> Figures:
    """Fill a store, serve it, read all its lists from beginning to end, and keep it in order while it is used.

    Args:
        sessions: sessions of the runs that the store itself writes.
        runs: number of these runs.
        copies: how many times there is all of that.
        calls: number of requests for each kind of list.
        limit: rows of a page.
        seconds: for how long each kind of upkeep goes on.
        accepts: number of accepts whose time is compared with that in an empty store.
        strict: whether to check the times and the memory.
    """
    live = Live(directory / "home", _AGENTS)
    database = live.home / "data" / "moongate.db"
    filled = Filled(sessions, runs, copies)
    began = time.monotonic()
    _make_store(database, filled)
    made = time.monotonic() - began
    try:
        began = time.monotonic()
        live.start()
        ready = time.monotonic() - began
        _all_is_listed_once(live, filled, limit)
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
        assert slowest["/api/work"] < WORK_P99, slowest
        assert ready <= START, ready
        assert memory < MEMORY, memory
    held = asyncio.run(upkeep.hold_nobody(database, seconds, SPAN_MILLISECONDS, accepts, strict=strict))
    return {
        "sessions": sessions * copies,
        "runs": runs * copies,
        "made in s": round(made, 1),
        "start s": round(ready, 2),
        "lists, worst p99 ms": f"{slowest[worst]:.1f} ({worst})",
        "work, p99 ms": f"{slowest['/api/work']:.1f}",
        "MB": round(memory),
        **held,
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


class Filled(NamedTuple):
    """What is in a store: some runs of some sessions, and copies of them."""

    sessions: int
    runs: int
    copies: int

    @property
    def total(self) -> int:
        return self.runs * self.copies

    def spec_of(self, number: int) -> RunSpec:
        """Return the run with that number, counted from 0, as `multiply_store` copies it."""
        copy, first = divmod(number, self.runs)
        spec = make_spec(first, first % self.sessions)
        if copy == 0:
            return spec
        text = spec.input.replace(f" {first}?", f" {number}?")
        return msgspec.structs.replace(spec, session=f"{spec.session}.{copy}", input=text)


def _make_store(database: Path, filled: Filled) -> None:
    later = SPAN_MILLISECONDS // filled.copies
    begin = wall_clock() - SPAN_MILLISECONDS
    asyncio.run(fill_store(database, [filled.spec_of(number) for number in range(filled.runs)], begin, later))
    multiply_store(database, filled.copies, later)


async def fill_store(database: Path, specs: list[RunSpec], begin: int | None = None, span: int = 0) -> None:
    """Submit runs and end them, as an engine does: through the store's own methods.

    Args:
        begin: when the first one is accepted, in milliseconds since 1970 UTC; now if it is left out.
        span: milliseconds over which they are spread from then on.
    """
    database.parent.mkdir(parents=True)
    first = 0

    def clock() -> int:
        return wall_clock() if begin is None else begin + span * first // len(specs)

    store = SqliteStore(database, clock=clock)
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


def _all_is_listed_once(live: Live, filled: Filled, limit: int) -> None:
    """Check lists page by page: each has all its entries once, in the right order."""
    newest = filled.spec_of(filled.total - 1).session

    def is_delayed(number: int) -> bool:
        return number % filled.runs < DELAYED

    wanted: dict[str, Callable[[int, RunSpec], bool]] = {
        "": lambda number, spec: True,
        "agent=other": lambda number, spec: spec.agent == "other",
        "label=batch": lambda number, spec: bool(spec.labels),
        "label=batch%3D1": lambda number, spec: spec.labels == {"batch": "1"},
        "status=queued": lambda number, spec: is_delayed(number),
        "status=failed": lambda number, spec: not is_delayed(number) and _fails(number % filled.runs + 1),
        f"session={newest}": lambda number, spec: spec.session == newest,
    }
    for query, is_wanted in wanted.items():
        listed = (task["input"] for task in _walked(live, f"/api/tasks?{query}", "tasks", limit))
        for number in reversed(range(filled.total)):
            spec = filled.spec_of(number)
            if is_wanted(number, spec):
                assert next(listed, None) == spec.input, (query, number)
        assert next(listed, None) is None, query
    keys = [session["key"] for session in _walked(live, "/api/sessions?", "sessions", limit)]
    # Each session has one of the first runs of its copy.
    copies = range(0, filled.total, filled.runs)
    assert sorted(keys) == sorted(filled.spec_of(copy + n).session for copy in copies for n in range(filled.sessions))


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
        "/api/work",
        "/api/tasks/counts",
        "/api/tasks/counts?agent=other",
        "/api/tasks/counts?label=batch",
        "/api/sessions?agent=nobody",
        "/api/sessions?q=nowhere",
        "/api/projects",
        "/api/samples",
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
