"""What must hold in the database of a fleet, and among its agents, whatever happened to its members."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from drills import Figures, client
from gateway.domain.run import MAX_ATTEMPTS
from gateway.engine.execution.attempt import Interrupt
from gateway.store.postgres.opening import SCHEMA
from harness.postgres_server import PostgresServer

#: name of the fleet's database
DATABASE = "fleet"
#: the part of all runs that must succeed; each of the others lost all its members
MIN_SUCCEEDED_SHARE = 0.95
#: why a run is attempted again if something happens to its member: it ended, could not write, began again as one that
#: leads no more, or never heard that it has the run
LOSSES = ("its gateway ended", Interrupt.DISK.value, Interrupt.STOP.value, "its worker does not know it")


class Attempt(NamedTuple):
    """An attempt of a run, as its events tell it; times are in milliseconds since 1970."""

    run: str
    number: int
    began: int
    ended: int
    #: what the agent wrote
    text: str


def rows(server: PostgresServer, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(psycopg.connect(server.url(DATABASE), autocommit=True)) as connection:
        connection.execute(f"SET search_path = {SCHEMA}")
        return connection.execute(query.encode()).fetchall()


def count_open(server: PostgresServer) -> int:
    return int(rows(server, "SELECT count(*) FROM runs WHERE status IN ('held', 'queued', 'running')")[0][0])


def judge(
    server: PostgresServer, acknowledged: Mapping[str, str], log: Path, limit: int, *, may_lose: bool = False
) -> Figures:
    """Check all promises.

    Args:
        may_lose: whether acknowledged tasks may be lost, because the server was replaced by one that lacks them.
        acknowledged: ids of the runs by their texts.
        log: to which the agents wrote their marks.
        limit: how many runs of the agent there may be at the same time.
    """
    runs = {
        run: (json.loads(spec)["input"], status, result, attempt)
        for run, spec, status, result, attempt in rows(server, "SELECT id, spec, status, result, attempt FROM runs")
    }
    lost = [text for text, run in acknowledged.items() if run not in runs]
    assert may_lose or lost == [], f"{len(lost)} acknowledged tasks are lost, {lost[:5]} among them"
    _check_runs(runs)
    events = defaultdict(list)
    for run, number, at, data in rows(
        server, "SELECT runs.id, n, events.at, data FROM events JOIN runs ON seq = run ORDER BY runs.seq, n"
    ):
        events[run].append((number, at, json.loads(data)))
    _check_events(events)
    check_failures(runs, events)
    _check_transcripts(server, runs)
    attempts = [attempt for run, listed in events.items() for attempt in _read_attempts(run, listed)]
    for attempt in attempts:
        _check_marks(attempt)
    marks = _read_marks(client.lines(log))
    most = _find_peak((one.began, one.ended) for one in attempts)
    assert most <= limit, f"{most} runs were running at the same time by the store"
    at_work = _find_peak(_list_living(attempts, marks))
    assert at_work <= limit, f"{at_work} agents of living epochs were at work at the same time"
    return {
        "acknowledged": len(acknowledged),
        "lost": len(lost),
        "succeeded": sum(status == "succeeded" for _, status, *_ in runs.values()),
        f"gave up after {MAX_ATTEMPTS} attempts": sum(status == "failed" for _, status, *_ in runs.values()),
        "attempts": len(attempts),
        "tried again because": dict(_count_reasons(events)),
        "agents begun": len(marks),
        "that came to their end, most together": _find_peak(
            (began, ended) for began, ended in marks.values() if ended is not None
        ),
        "events": sum(map(len, events.values())),
        "running together by the store, by the agents": f"{most}, {at_work} of {limit}",
    }


def _count_reasons(events: Mapping[str, list[tuple[int, int, dict[str, Any]]]]) -> Counter[str]:
    """Count why runs were tried again."""
    told = (data for listed in events.values() for _, _, data in listed)
    return Counter(data["reason"] for data in told if data["kind"] == "status" and data.get("reason"))


def _check_runs(runs: Mapping[str, tuple[Any, ...]]) -> None:
    twice = [text for text, count in Counter(text for text, *_ in runs.values()).items() if count > 1]
    assert twice == [], f"{len(twice)} tasks became several runs, {twice[:5]} among them"
    for run, (text, status, result, _) in runs.items():
        assert status in ("succeeded", "failed"), (run, text, status)
        assert status != "succeeded" or result.split()[-1].startswith(f"{text}/"), (run, text, result)


def _check_events(events: Mapping[str, list[tuple[int, int, dict[str, Any]]]]) -> None:
    for run, listed in events.items():
        numbers = [number for number, _, _ in listed]
        assert numbers == list(range(1, len(listed) + 1)), f"{run} has the events {numbers}"
        times = [at for _, at, _ in listed]
        assert times == sorted(times), f"the events of {run} are not in the order of time"
        ends = [number for number, _, data in listed if data["kind"] == "end"]
        assert ends == numbers[-1:], f"{run} has the ends {ends} of {numbers}"


def check_failures(
    runs: Mapping[str, tuple[Any, ...]], events: Mapping[str, list[tuple[int, int, dict[str, Any]]]]
) -> None:
    """Check that few runs failed, and each of these as often as it may because of what happened to its members."""
    failed = {run: attempt for run, (_, status, _, attempt) in runs.items() if status == "failed"}
    for run, attempt in failed.items():
        told = [data for _, _, data in events[run]]
        assert attempt == MAX_ATTEMPTS, f"{run} failed at attempt {attempt}: {told[-1]}"
        begins, _, last = str(told[-1]["error"]).partition("; last: ")
        assert begins == f"interrupted {MAX_ATTEMPTS} times, which is the limit", f"{run} failed: {told[-1]}"
        reasons = [data["reason"] for data in told if data["kind"] == "status" and data.get("reason")]
        assert {*reasons, last} <= set(LOSSES), f"{run} was attempted again because {reasons}, and failed: {last}"
    assert len(failed) <= (1 - MIN_SUCCEEDED_SHARE) * len(runs), f"{len(failed)} of {len(runs)} runs failed"


def _check_transcripts(server: PostgresServer, runs: Mapping[str, tuple[Any, ...]]) -> None:
    """Check that each run has one prompt and one answer at most, and that each transcript is in order."""
    told = Counter((run, role) for run, role in rows(server, "SELECT run, role FROM transcript"))
    twice = [key for key, count in told.items() if count > 1]
    assert twice == [], f"in transcripts twice: {twice[:5]}"
    for run, (_, status, *_) in runs.items():
        roles = [role for role in ("user", "assistant") if told[run, role]]
        assert status != "succeeded" or roles == ["user", "assistant"], (run, roles)
    gaps = rows(server, "SELECT session FROM transcript GROUP BY session HAVING count(*) <> max(n)")
    assert gaps == [], f"{len(gaps)} transcripts have gaps"


def _read_attempts(run: str, listed: Iterable[tuple[int, int, dict[str, Any]]]) -> list[Attempt]:
    """Cut the events of a run at its changes of status."""
    found: list[Attempt] = []
    began, text, number = None, "", 0
    for _, at, data in listed:
        if data["kind"] == "text":
            assert began is not None, f"{run}: an agent wrote while no attempt was running: {data}"
            text += data["delta"]
        elif data["kind"] in ("status", "end"):
            if began is not None:
                found.append(Attempt(run, number, began, at, text))
            began, text, number = None, "", data.get("attempt", 0)
            if data.get("status") == "running":
                began = at
    return found


def _check_marks(attempt: Attempt) -> None:
    """Check that one agent only wrote during an attempt: a member of an old epoch writes nothing."""
    marks = {word for word in attempt.text.split() if word.count("/") == 2}
    assert len(marks) <= 1, f"several agents wrote in attempt {attempt.number} of {attempt.run}: {attempt.text!r}"


def _read_marks(lines: Iterable[str]) -> dict[str, tuple[int, int | None]]:
    """Return when each agent began and ended, by its mark, in milliseconds; None for one that was killed."""
    found: dict[str, tuple[int, int | None]] = {}
    for line in lines:
        what, mark, at = line.split()
        milliseconds = int(at) // 1_000_000
        found[mark] = (milliseconds, None) if what == "begin" else (found[mark][0], milliseconds)
    return found


def _list_living(attempts: Iterable[Attempt], marks: Mapping[str, tuple[int, int | None]]) -> Iterable[tuple[int, int]]:
    """Yield the times in which agents worked that the store had not given up."""
    for attempt in attempts:
        for mark in {word for word in attempt.text.split() if word.count("/") == 2}:
            began, ended = marks[mark]
            yield began, min(attempt.ended, ended or attempt.ended)


def _find_peak(times: Iterable[tuple[int, int]]) -> int:
    """Return how many of some spans there are at the same time, at most; one may begin when another ends."""
    steps = sorted(step for began, ended in times for step in ((began, 1), (max(began, ended), -1)))
    peak = now = 0
    for _, change in sorted(steps):
        now += change
        peak = max(peak, now)
    return peak
