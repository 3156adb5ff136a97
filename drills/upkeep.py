"""Upkeep of a large store while it is used: pruning, reindexing and a backup hold no request for long."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from drills import Figures
from gateway.domain.page import Page
from gateway.domain.retention import DAY_MILLISECONDS, Retention
from gateway.domain.run import RunFilter, RunSpec, Source, Status
from gateway.domain.search import SearchQuery, SearchTerm
from gateway.domain.times import wall_clock
from gateway.engine.background.housekeeping import PRUNING_PAUSE_SECONDS, REINDEXING_PAUSE_SECONDS, Pruner
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore

#: milliseconds that upkeep may add to all requests but one in a thousand: the limit is 20, and a measurement has its
#: spread; a backup is another process that fills the same disk, for which each accept waits
MAX_HOLD_MILLISECONDS, MAX_BACKUP_HOLD_MILLISECONDS = 40.0, 150.0
#: CPU time of an accept, compared with that in an empty store: the limit is 1.15, and a measurement has its spread
MAX_ACCEPT_RATIO = 1.5
#: accepts that wait at once, and how often some of them are measured together
ACCEPTS_AT_ONCE, ACCEPT_ROUNDS = 50, 5
#: seconds between two requests of one kind
PACE_SECONDS = 0.004
#: messages to reindex, and characters of the longest
MAX_OLD_MESSAGES, OLD_MESSAGE_CHARACTERS = 500, 2000

#: what docs/operations.md says of a backup
_BACKUP = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', (sys.argv[2],))"


class _Times(NamedTuple):
    """Milliseconds that requests took."""

    slowest: float
    #: the 99.9th percentile
    p999: float
    accepted: int


async def hold_nobody(database: Path, seconds: float, span: int, accepts: int = 50, *, strict: bool = False) -> Figures:
    """Use a store while all its upkeep goes on, one kind after the other.

    Args:
        seconds: for how long each kind goes on at most.
        span: milliseconds over which its runs ended.
        accepts: number of accepts whose time is measured together.
        strict: whether to check the times.
    """
    expired = _make_old(database)
    copy, empty = database.with_name("copy.db"), database.with_name("empty.db")
    store = SqliteStore(database)
    try:
        queued = (await store.runs.count_totals(0)).queued
        took = {"quiet": await _use_meanwhile(store, seconds, None)}
        for name, job in _jobs(store, database, copy, span).items():
            took[name] = await _use_meanwhile(store, seconds, job)
        ratio = await _compare_accepts(store, empty, accepts)
        accepted = sum(one.accepted for one in took.values()) + accepts * ACCEPT_ROUNDS
        assert (await store.runs.count_totals(0)).queued == queued + accepted, "each accepted run is there"
    finally:
        await store.close()
    _check_copy(copy, strict)
    _check_words(database)
    if strict:
        for name, one in took.items():
            added = MAX_BACKUP_HOLD_MILLISECONDS if name == "backup" else MAX_HOLD_MILLISECONDS
            assert one.p999 <= took["quiet"].p999 + added, (name, took)
        assert ratio < MAX_ACCEPT_RATIO, ratio
    return {
        "expired keys": expired,
        "requests, p99.9 and worst ms": ", ".join(f"{n} {one.p999:.1f} {one.slowest:.1f}" for n, one in took.items()),
        "accept, CPU compared with an empty store": round(ratio, 2),
    }


# --- what there is to do ----------------------------------------------------------------------


def _make_old(database: Path) -> int:
    """Add what a store has after years: expired keys, and messages in the index of an older version."""
    dice = random.Random(5)  # noqa: S311
    with contextlib.closing(apsw.Connection(str(database))) as connection, connection:
        opening.add_functions(connection)
        count: Any = connection.execute("SELECT count(*) / 4 FROM runs").get
        connection.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
            " INSERT INTO idempotency SELECT 's', hex(randomblob(12)), 'd', 'r', n FROM numbers",
            (count,),
        )
        last: Any = connection.execute("SELECT max(id) FROM transcript").get
        messages = min(MAX_OLD_MESSAGES, int(count) // 10)
        connection.execute("UPDATE respacing SET next = ?, last = ?", (last + 1, last + messages))
        session: Any = connection.execute("SELECT key FROM sessions ORDER BY touched DESC LIMIT 1").get
        for number in range(1, messages + 1):
            text = "".join(chr(0x4E00 + dice.randrange(3000)) for _ in range(dice.randint(1, OLD_MESSAGE_CHARACTERS)))
            connection.execute(
                "INSERT INTO transcript (id, session, n, role, content, at, run) VALUES (?, ?, ?, 'user', ?, 0, 'r')",
                (last + number, session, 1_000_000 + number, text),
            )
    return int(count)


def _jobs(store: SqliteStore, database: Path, copy: Path, span: int) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return each kind of upkeep. Half of what is in the store is too old."""
    half = span / 2 / DAY_MILLISECONDS

    def prune(**keep: float) -> Callable[[], Awaitable[None]]:
        pruner = Pruner(store, Retention(**keep), database.with_name("outputs"), wall_clock)  # type: ignore[arg-type]
        return pruner.prune_store

    async def reindex() -> None:
        more = True
        while more:
            more = await store.sessions.reindex_message_batch()
            await asyncio.sleep(REINDEXING_PAUSE_SECONDS)

    async def back_up() -> None:
        backup = await asyncio.create_subprocess_exec(sys.executable, "-c", _BACKUP, str(database), str(copy))
        assert await backup.wait() == 0
        await asyncio.sleep(PRUNING_PAUSE_SECONDS)  # what was written meanwhile is moved into the database now

    return {
        "backup": back_up,
        "reindexing": reindex,
        "expired": store.retention.prune_expired,
        "events": prune(events_days=half),
        "sessions": prune(sessions_days=half),
        "runs": prune(runs_days=half),
    }


# --- using it ---------------------------------------------------------------------------------


async def _use_meanwhile(store: SqliteStore, seconds: float, job: Callable[[], Awaitable[None]] | None) -> _Times:
    """Accept, list and search until a job ends, but no longer than some seconds; a backup is waited for."""
    over = asyncio.Event()
    took: list[float] = []
    requests: list[Callable[[int], Awaitable[object]]] = [
        lambda number: store.runs.accept(_make_request(number)),
        lambda number: store.runs.list(RunFilter(agent="other", statuses=(Status.FAILED,)), Page(limit=50)),
        lambda number: store.sessions.list(Page(limit=50)),
        lambda number: store.sessions.search(SearchQuery(terms=(SearchTerm("nowhere"),)), Page(limit=50)),
    ]

    async def repeat(request: Callable[[int], Awaitable[object]]) -> int:
        number = 0
        while not over.is_set():
            began = time.monotonic()
            await request(number)
            took.append((time.monotonic() - began) * 1000)
            number += 1
            await asyncio.sleep(PACE_SECONDS)
        return number

    users = [asyncio.create_task(repeat(request)) for request in requests]
    work = asyncio.create_task(_work_for(seconds, job))
    await work
    over.set()
    accepted, *_ = await asyncio.gather(*users)
    took.sort()
    return _Times(took[-1], took[len(took) * 999 // 1000], accepted)


async def _work_for(seconds: float, job: Callable[[], Awaitable[None]] | None) -> None:
    if job is None:
        await asyncio.sleep(seconds)
    elif job.__name__ == "back_up":
        await job()
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await job()


def _make_request(number: int) -> RunSpec:
    return RunSpec(source=Source.TASK, agent="main", session=f"main:new:{number % 500}", input="What is new?")


async def _compare_accepts(store: SqliteStore, path: Path, accepts: int) -> float:
    """Return the CPU time of an accept, as a multiple of that in an empty store: the median of several rounds."""
    empty = SqliteStore(path)
    try:
        ratios = [
            await _time_accepts(store, accepts) / await _time_accepts(empty, accepts) for _ in range(ACCEPT_ROUNDS)
        ]
    finally:
        await empty.close()
    return sorted(ratios)[ACCEPT_ROUNDS // 2]


async def _time_accepts(store: SqliteStore, accepts: int) -> float:
    began = time.process_time()
    for first in range(0, accepts, ACCEPTS_AT_ONCE):
        await asyncio.gather(*(store.runs.accept(_make_request(first + number)) for number in range(ACCEPTS_AT_ONCE)))
    return time.process_time() - began


# --- checking ---------------------------------------------------------------------------------


def _check_copy(copy: Path, strict: bool) -> None:
    """Check that a backup is a whole store; if it is large, only that it has all its runs."""
    with contextlib.closing(opening.open_existing(copy)) as connection:
        if not strict:
            assert connection.execute("PRAGMA integrity_check").get == "ok"
        tallied = connection.execute("SELECT sum(n) FROM tally WHERE instr(status, ' ') = 0").get
        assert connection.execute("SELECT count(*) FROM runs").get == tallied


def _check_words(database: Path) -> None:
    """Check that the search index has what the messages say."""
    with contextlib.closing(apsw.Connection(str(database))) as connection:
        opening.add_functions(connection)
        connection.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
