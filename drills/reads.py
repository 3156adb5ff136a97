"""Reads that fail, cannot be decoded, take long or are not taken: none of them stops or slows what others do."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import psutil

from bench import measure
from drills import Figures, client
from gateway.store.sqlite import opening
from harness.live_gateway import Live

#: MiB by which readers that take nothing may let the gateway grow, and seconds in which `/health` answers
GROWTH, HEALTH_SECONDS = 100.0, 1.0
#: characters of a long input
LONG = 400_000

#: makes one row of each table unreadable
_DAMAGES = {
    "task": "UPDATE runs SET spec = '{' WHERE seq = (SELECT min(seq) FROM runs WHERE status = 'succeeded')",
    # of the second run: the schedule that is made afterwards may have fired already
    "event": "UPDATE events SET data = '{' WHERE n = 1 AND run = (SELECT seq FROM runs ORDER BY seq LIMIT 1 OFFSET 1)",
    "schedule": "UPDATE schedules SET spec = json_set(spec, '$.misfire', 'never') WHERE id = 'bad'",
    "message": "UPDATE transcript SET role = 'x' WHERE id = (SELECT min(id) FROM transcript)",
    "agent": "UPDATE agents SET budget = 'x'",
    "token": "UPDATE tokens SET scope = 'x'",
    "note": "UPDATE notes SET value = 'x'",
    "process": "INSERT INTO processes (who, owner) VALUES ('x', 'y')",
}


def fail_under_load(directory: Path, tasks: int = 60) -> Figures:
    """Make reads fail all the time while tasks are submitted: each task is found as soon as it is accepted."""
    live = Live(directory / "home", {}).start()
    try:
        bad = client.accepted(live, "bad")
        client.wait_for(live, bad, "succeeded")
        _damage(live, "UPDATE runs SET spec = '{' WHERE id = ?", bad)
        ending, failed = threading.Event(), [0]

        def fail_reads() -> None:
            while not ending.is_set():
                assert live.call("GET", f"/api/tasks/{bad}").status == 500
                failed[0] += 1

        def submit_and_find(number: int) -> bool:
            return live.call("GET", f"/api/tasks/{client.accepted(live, f'task {number}')}").status == 200

        with ThreadPoolExecutor(8) as threads:
            failing = [threads.submit(fail_reads) for _ in range(3)]
            try:
                found = list(threads.map(submit_and_find, range(tasks)))
            finally:
                ending.set()
            for one in failing:
                one.result()
        assert all(found), f"{found.count(False)} of {tasks} accepted tasks were not found"
        assert live.stop() == 0
    finally:
        live.close()
    return {"tasks": tasks, "failed reads": failed[0]}


def undecodable_rows(directory: Path) -> Figures:
    """Make a row of each table unreadable: the gateway starts, works, says what it cannot read, and can remove it."""
    live = Live(directory / "home", {}).start()
    try:
        client.wait_for(live, client.accepted(live, "first"), "succeeded")
        last = client.accepted(live, "last")
        client.wait_for(live, last, "succeeded")
        _create_one_of_each(live)
        assert live.stop() == 0
        for statement in _DAMAGES.values():
            _damage(live, statement)
        live.start()
        client.wait_for(live, client.accepted(live, "after"), "succeeded")
        for path in (f"tasks/{last}/events?limit=1000", "tasks", "sessions", "search?q=first", "xcclaw/persistent"):
            answer = live.call("GET", f"/api/{path}", headers={"Accept": "application/json"})
            assert answer.status == 200, (path, answer)
        session = client.show(live, last)["session"]
        live.call("GET", f"/api/sessions/{session}/history")
        fired = client.until(lambda: live.call("GET", "/api/cron/good/runs").body["runs"], "the good schedule fires")
        rows = live.call("GET", "/api/unreadable").body["rows"]
        health = live.health
        for row in rows:
            path = f"/api/unreadable/{row['kind']}/{row['id'].replace('/', '%2F')}"
            assert live.call("DELETE", path).status == 200, row
        healed = live.health
        assert live.stop() == 0
    finally:
        live.close()
    missing = set(_DAMAGES) - {row["kind"] for row in rows} - {"message"}
    assert not missing, f"not told: {missing}"
    assert (health["status"], healed["status"]) == ("degraded", "healthy"), (health, healed)
    assert fired[0]["outcome"] == "fired", fired
    return {"kinds": len(_DAMAGES), "told": len(rows)}


def _create_one_of_each(live: Live) -> None:
    for path, body in (
        ("/api/tokens", {"name": "bad", "scope": "read"}),
        ("/api/agents", {"name": "bad", "slug": "bad", "budget": {"runs": 1}}),
        ("/api/xcclaw/persistent?name=bad", {}),
        ("/api/xcclaw/schedule", {"id": "bad", "name": "bad", "cron": "0 9 * * *", "prompt": "hi"}),
        ("/api/xcclaw/schedule", {"id": "good", "name": "good", "cron": "* * * * *", "prompt": "hi"}),
    ):
        answer = live.call("POST", path, body)
        assert answer.status in (200, 201), (path, answer)
    answer = live.call("PATCH", "/api/cron/good", {"schedule": "every 1s"})
    assert answer.status == 200, answer


def readers_take_nothing(directory: Path, readers: int = 20, tasks: int = 60, *, strict: bool = False) -> Figures:
    """Ask for large lists and tasks on connections that read nothing: they cost little, and are dropped.

    Args:
        strict: whether to check the memory.
    """
    live = Live(directory / "home", {"limits": {"stall_seconds": 3}}).start()
    opened: list[socket.socket] = []
    try:
        runs = [
            client.accepted(live, f"{number} {'x' * LONG}", run_at="2100-01-01T00:00:00Z") for number in range(tasks)
        ]
        who = psutil.Process(live.generation.pid)
        before = most = measure.memory(who.pid)
        for number in range(readers):
            path = "/api/tasks?limit=200" if number % 2 else f"/api/tasks/{runs[number % tasks]}"
            opened.append(_ask_and_read_nothing(live, path))
        until = time.monotonic() + 2
        while time.monotonic() < until:
            assert live.call("GET", "/api/tasks?limit=1").status == 200
            most = max(most, measure.memory(who.pid))
        client.until(lambda: not any(map(_is_open, opened)), "all readers are dropped")
        assert live.stop() == 0
    finally:
        for one in opened:
            one.close()
        live.close()
    grown = most - before
    assert not strict or grown < GROWTH, f"{readers} readers cost {grown:.0f} MiB"
    return {"readers": readers, "grown MiB": round(grown)}


def _ask_and_read_nothing(live: Live, path: str) -> socket.socket:
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.connect(("127.0.0.1", live.port))
    # three requests on one connection: more than the kernel holds for it
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {live.token}\r\n\r\n"
    opened.sendall(request.encode() * 30)
    return opened


def _is_open(connection: socket.socket) -> bool:
    """Return whether the other side has not dropped a connection of which nothing is read."""
    try:
        connection.send(b"\r\n", socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def search_bombs(directory: Path, bombs: int = 4, *, strict: bool = False) -> Figures:
    """Search for many words in repetitive text, several times at once: health and work go on.

    Args:
        strict: whether to check how fast `/health` answers.
    """
    live = Live(directory / "home", {}).start()
    words = ["a" * length for length in range(1, 17)]
    try:
        text = " ".join(words * 600)[:65_000]
        for _ in range(3):
            client.wait_for(live, client.accepted(live, text), "succeeded")
        query = f"/api/search?limit=500&q={'+'.join(words)}"
        slowest = 0.0
        with ThreadPoolExecutor(bombs) as threads:
            searching = [threads.submit(live.call, "GET", query) for _ in range(bombs)]
            while not all(one.done() for one in searching):
                began = time.monotonic()
                assert live.health["tasks"] is not None or not strict
                assert live.call("GET", "/api/tasks?limit=1").status == 200
                slowest = max(slowest, time.monotonic() - began)
        statuses = sorted(one.result().status for one in searching)
        client.wait_for(live, client.accepted(live, "after"), "succeeded")
        assert live.stop() == 0
    finally:
        live.close()
    assert set(statuses) <= {200, 504}, statuses
    limit = HEALTH_SECONDS * (1 if strict else 10)
    assert slowest < limit, f"/health and a list took {slowest:.1f} s during searches"
    return {"bombs": bombs, "slowest s": round(slowest, 2)}


def _damage(live: Live, statement: str, *values: Any) -> None:
    """Change the database as another program would."""
    with closing(apsw.Connection(str(live.home / "data" / "moongate.db"))) as connection:
        opening.add_functions(connection)
        connection.set_busy_timeout(5000)
        assert connection.execute(statement, values).connection.changes() >= 1, statement
