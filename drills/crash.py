"""Kill -9, orphans, and stops: each accepted task is done, and never by two processes at once."""

from __future__ import annotations

import random
import signal
import statistics
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from drills import Figures, client
from gateway.supervisor import terminate
from harness.live_gateway import Live
from harness.live_store import LiveStore
from harness.waiting import PATIENCE

#: seconds in which a gateway should be ready again; ten times that is a failure
READY = 2.0
WRITERS = 4

#: writes its work to a file, where it can be counted: one line per attempt
_WORK = 'IFS= read -r line; printf "%s\\n" "$line" >> effects; sleep 0.05; printf "did %s" "$line"'

#: starts a child; both ignore SIGTERM, SIGHUP and SIGINT, and never end
_STUBBORN = """trap '' TERM HUP INT
echo "$$ begin" >> effects
(trap '' TERM HUP INT; while :; do echo "$$ tick" >> effects; sleep 0.02; done) &
wait
"""

#: takes a minute at the first time, and no time after that
_SLOW_ONCE = "if [ -e begun ]; then printf again; else touch begun; sleep 60; fi"


def shell(directory: Path, script: str, name: str = "main", **more: Any) -> dict[str, Any]:
    """Return an agent that is a shell script, working in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    command = ["/bin/sh", "-c", script]
    return {"id": name, "backend": "command", "command": command, "workspace": str(directory), **more}


class Writers:
    """Clients that submit tasks, each with an idempotency key, and try again until they get an answer."""

    def __init__(self, live: Live, count: int) -> None:
        self._live = live
        self._going = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(count)]
        #: acknowledged tasks: ids by text
        self.acknowledged: dict[str, str] = {}
        #: requests that got no answer, and were sent again
        self.unanswered = 0

    def start(self) -> None:
        self._going.set()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._going.clear()
        for thread in self._threads:
            thread.join()

    def _write(self, writer: int) -> None:
        number = 0
        while self._going.is_set():
            text = f"w{writer}-{number}"
            answer = client.try_task(self._live, text, key=text)
            if answer is None or answer.status >= 500:
                self.unanswered += 1
                time.sleep(0.02)
                continue
            assert answer.status == 202, answer
            self.acknowledged[text] = answer.body["task"]["id"]
            number += 1
            time.sleep(0.03)


def kill_at_random(
    directory: Path, kills: int = 10, seed: str = "moon", strict: bool = False, store: LiveStore | None = None
) -> Figures:
    """Kill -9 at random moments under four writers: in turn, the whole gateway, and only the serving process.

    Args:
        strict: whether the time until it is ready again, which depends on the machine, is checked, too.
    """
    work = directory / "work"
    agent = shell(work, _WORK, max_concurrent=8)
    live = Live(directory / "home", {"agents": {"list": [agent]}}, store=store)
    dice = random.Random(seed)  # noqa: S311 no secret
    ready: list[float] = []
    writers = Writers(live, WRITERS)
    try:
        live.start()
        writers.start()
        for number in range(kills):
            time.sleep(dice.uniform(0.02, 0.6))
            ready.append(_kill(live, alone=number % 2 == 1))
        writers.stop()
        client.wait_idle(live)
        assert live.stop() == 0
    finally:
        writers.stop()
        live.close()
    figures = _judge(live, writers.acknowledged, client.lines(work / "effects"))
    assert not strict or max(ready) < 10 * READY, f"ready again after {max(ready):.1f} s"
    return {
        "kills": kills,
        **figures,
        "unanswered and repeated": writers.unanswered,
        "ready again, median s": round(statistics.median(ready), 2),
        "ready again, worst s": round(max(ready), 2),
    }


def _kill(live: Live, *, alone: bool) -> float:
    """Kill the whole gateway, or only the serving process; return the seconds until it is ready again."""
    if alone:
        serving = live.generation
        live.signal(signal.SIGKILL, serving)
        assert terminate.wait_gone(serving, PATIENCE), "the serving process survives a kill -9"
        began = time.monotonic()
        live.wait_ready()
    else:
        live.kill()
        began = time.monotonic()
        live.start()
    return time.monotonic() - began


def _judge(live: Live, acknowledged: dict[str, str], effects: list[str]) -> Figures:
    """Check the promises about the database, about the effects, and about both together."""
    live.check_store()
    runs = {
        run: (text, status, result, attempt)
        for run, text, status, result, attempt in live.rows(
            "SELECT id, json_extract(spec, '$.input'), status, result, attempt FROM runs"
        )
    }
    lost = [text for text, run in acknowledged.items() if run not in runs]
    assert lost == [], f"{len(lost)} acknowledged tasks are lost, {lost[:5]} among them"
    twice = [text for text, count in Counter(text for text, *_ in runs.values()).items() if count > 1]
    assert twice == [], f"{len(twice)} tasks became several runs, {twice[:5]} among them"
    done = Counter(effects)
    for run, (text, status, result, attempt) in runs.items():
        assert status in ("succeeded", "failed"), (run, status)
        assert done[text] <= attempt, f"{text} was done {done[text]} times in {attempt} attempts"
        if status == "succeeded":
            assert done[text] >= 1, f"{text} is reported as done, but is not"
            assert result == f"did {text}", f"the result of {text} is {result!r}"
    ends = dict(
        live.rows(
            "SELECT runs.id, (SELECT count(*) FROM events WHERE run = seq AND json_extract(data, '$.kind') = 'end')"
            " FROM runs"
        )
    )
    odd = {run: count for run, count in ends.items() if count != 1}
    assert odd == {}, f"runs without exactly one end: {odd}"
    gaps = live.rows("SELECT run FROM events GROUP BY run HAVING count(*) <> max(n) OR min(n) <> 1")
    assert gaps == [], f"{len(gaps)} runs have gaps in their events"
    return {
        "acknowledged": len(acknowledged),
        "lost": len(lost),
        "tried again": sum(attempt > 1 for *_, attempt in runs.values()),
        "gave up after 3 attempts": sum(status == "failed" for _, status, *_ in runs.values()),
    }


def no_orphan_beside_a_retry(directory: Path, store: LiveStore | None = None) -> Figures:
    """Kill the gateway while a stubborn agent works: the agent is ended before its run is tried again."""
    work = directory / "work"
    effects = work / "effects"
    live = Live(directory / "home", {"agents": {"list": [shell(work, _STUBBORN)]}}, store=store)
    try:
        live.start()
        run = client.accepted(live, "work without end")
        client.until(lambda: len(client.lines(effects)) > 5, "the agent works")
        live.kill()
        orphaned = len(client.lines(effects))
        orphan = int(client.lines(effects)[0].split()[0])
        client.until(  # any other gateway of this machine that starts may end it first
            lambda: len(client.lines(effects)) > orphaned + 3 or not psutil.pid_exists(orphan),
            "the orphan continues to work",
        )
        live.start()
        client.until(lambda: sum("begin" in line for line in client.lines(effects)) == 2, "the run is tried again")
        again = len(client.lines(effects))
        client.until(lambda: len(client.lines(effects)) > again + 20, "the second attempt works")
        live.call("POST", f"/api/tasks/{run}/cancel")
        client.wait_for(live, run, "cancelled")
        ended = client.lines(effects)
        assert live.stop() == 0
        assert client.lines(effects) == ended, "the cancelled agent still works"
    finally:
        live.close()
    first, second = (line.split()[0] for line in ended if "begin" in line)
    beginning = ended.index(f"{second} begin")
    beside = [line for line in ended[beginning:] if line.startswith(f"{first} ")]
    assert beside == [], f"{len(beside)} lines of the orphan during the retry"
    return {"lines of the orphan after the kill": beginning - orphaned, "beside the retry": len(beside)}


def a_stop_drains(directory: Path) -> Figures:
    """Stop gracefully: runs that end within the grace end; the others are requeued, and done after the next start."""
    agents = [{"id": "main", "backend": "echo", "script": True}, shell(directory / "work", _SLOW_ONCE, "slow")]
    live = Live(directory / "home", {"gateway": {"stop_grace": 8.0}, "agents": {"list": agents}})
    try:
        live.start()
        slow = client.accepted(live, "take your time", agentId="slow")
        client.until((directory / "work" / "begun").exists, "the slow one has begun")
        quick = client.accepted(live, "@@ sleep 1\n@@ say in time")
        client.wait_for(live, quick, "running", "succeeded")
        began = time.monotonic()
        assert live.stop() == 0
        took = time.monotonic() - began
        live.start()
        in_time, later = client.show(live, quick), client.wait_for(live, slow, "succeeded")
        assert live.stop() == 0
    finally:
        live.close()
    assert (in_time["status"], in_time["attempt"]) == ("succeeded", 1), in_time
    assert later["attempt"] == 2, later
    return {"grace s": 8.0, "stop took s": round(took, 2)}


def a_second_signal_cuts_the_grace(directory: Path, store: LiveStore | None = None) -> Figures:
    """Ask twice to stop: at the second request, the gateway stops at once."""
    live = Live(directory / "home", {"gateway": {"stop_grace": 300.0}}, store=store)
    try:
        live.start()
        run = client.accepted(live, "@@ hang")
        client.wait_for(live, run, "running")
        assert live.process is not None
        live.process.send_signal(signal.SIGTERM)
        client.until(lambda: "supervisor.stopping" in live.output.read_text(), "the stop has begun")
        began = time.monotonic()
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(PATIENCE) == 0
        took = time.monotonic() - began
    finally:
        live.close()
    status = live.rows("SELECT status, attempt FROM runs")
    assert status == [("queued", 1)]
    return {"from the second signal to the end s": round(took, 2)}
