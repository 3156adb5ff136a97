"""Restarts under load, and the status of a gateway that starts and stops: with the commands that people use."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from drills import Figures, client
from gateway.supervisor.deadlines import MIGRATION_GRACE_SECONDS
from harness import faults
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.traffic import Traffic

_ECHO = {"id": "main", "backend": "echo", "script": True, "max_concurrent": 64}


def under_load(
    directory: Path, restarts: int = 3, seconds: float = 2.5, clients: int = 8, p99: float | None = None
) -> Figures:
    """Restart under clients that never retry, with a run and a request in flight; every second one with `--hard`.

    Args:
        restarts: 3 or more; the third waits for a migration.
        seconds: how long each run takes.
        p99: milliseconds that the 99th percentile of answers may take; None sets no limit.
    """
    live = Live(directory / "home", {"agents": {"list": [_ECHO]}})
    faults.able(live).start()
    shell = Shell(live.env, live.home)
    runs: list[str] = []
    asked: list[_Asked] = []
    try:
        with Traffic(live.port, keeping=clients // 2, coming=clients // 2) as traffic:
            for number in range(restarts):
                if number == 2:
                    faults.give(live, faults.PENDING_MIGRATION)
                runs.append(client.accepted(live, f"@@ sleep {seconds}\n@@ say done", session=f"run-{number}"))
                client.wait_for(live, runs[-1], "running", "succeeded")
                asked.append(_Asked(live, f"ask-{number}"))
                client.until(lambda: _begun(live) >= 2 * len(runs), "both have begun")
                assert shell("restart", *(["--hard"] if number % 2 else [])).code == 0
            answers = [one.answer() for one in asked]
            ended = [client.wait_for(live, run, "succeeded", "failed", "cancelled") for run in runs]
        assert traffic.failures == [], traffic.failures
        assert [(answer.status, answer.body["reply"]) for answer in answers] == [(200, "answered")] * restarts
        # the third restart waits for a migration: runs that it interrupts are tried again, and still end once
        cut = 3 if seconds > MIGRATION_GRACE_SECONDS else 0
        assert [run["result"] for run in ended] == ["done"] * restarts
        assert all(run["attempt"] in (1, 2) for run in ended[:cut]), ended
        assert all(run["attempt"] == 1 for run in ended[cut:]), ended
        assert live.health["generation"] == 1 + restarts
    finally:
        live.close()
    times = sorted(traffic.times)
    slow = times[len(times) * 99 // 100] * 1000
    assert p99 is None or slow < p99, f"p99 {slow:.0f} ms"
    return {
        "restarts": restarts,
        "requests": len(times),
        "failed": 0,
        "p99 ms": round(slow),
        "worst s": round(times[-1], 2),
    }


def status_over_starts(directory: Path, turns: int = 2, calls: int = 4) -> Figures:
    """Ask for the status all the time during starts and stops: it says "running" only while that is true."""
    live = Live(directory / "home")
    shell = Shell(live.env, live.home)
    up, down, over = threading.Event(), threading.Event(), threading.Event()
    down.set()
    false: list[object] = []
    asked: list[bool] = []

    def ask() -> None:
        while not over.is_set():
            was_up, was_down = up.is_set(), down.is_set()
            answer = shell("status", "--json").json
            asked.append(answer["running"])
            if (was_up and up.is_set() and not answer["running"]) or (was_down and down.is_set() and answer["running"]):
                false.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(turns):
            down.clear()
            assert shell("start").code == 0
            up.set()
            assert shell("restart", "--hard").code == 0
            up.clear()
            assert shell("stop").code == 0
            down.set()
    finally:
        over.set()
        for thread in threads:
            thread.join()
        live.close()
    assert false == []
    assert len(asked) >= calls, len(asked)
    return {"starts": turns, "asked": len(asked), "running": sum(asked), "false": 0}


class _Asked:
    """A request that takes three seconds."""

    def __init__(self, live: Live, session: str) -> None:
        self._answers: list[Any] = []
        body = {"message": "@@ sleep 3\n@@ say answered", "session": session}
        self._thread = threading.Thread(target=lambda: self._answers.append(live.call("POST", "/api/agent", body)))
        self._thread.start()

    def answer(self) -> Any:
        self._thread.join()
        return self._answers[0]


def _begun(live: Live) -> int:
    return sum(task["status"] != "queued" for task in live.call("GET", "/api/tasks?limit=500").body["tasks"])
