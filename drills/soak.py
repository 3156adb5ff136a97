"""Mixed work for a long time: memory, descriptors and threads do not grow, and every failure is reported.

The memory of a young process grows: caches fill to their limits, and the heaps of its threads to their usual size. So
the long form compares with what it takes after some tens of thousands of pieces of work.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from drills import Figures, client, crash
from harness.live_gateway import Live
from harness.webhook_receiver import receiving_elsewhere

WORKERS = 3
#: seconds between two pieces of work of a worker
PACE = 0.05
#: descriptors and threads that may be added after the first round: readers of the store and workers of pools, which
#: are created at their first use
SPARE = 12
#: descriptors and threads that may be added in the second half of the rounds
STEADY = 3
#: pieces of work after which memory is level, and megabytes that may be added from then on
LEVEL_AFTER_PIECES, LEVEL_MEGABYTES = 50_000, 5.0
#: how many times as many pieces a run must have that shows this
LEVEL_SHOWN_FACTOR = 4
#: points of the run at which the figures tell the memory
CURVE_POINTS = 8

_AGENTS = [{"id": "main", "backend": "echo", "script": True, "max_concurrent": 8}]


class Sample(NamedTuple):
    """The resources of the gateway's processes while they are idle."""

    #: pieces of work that were done before
    pieces: int
    #: of all processes together
    megabytes: float
    descriptors: int
    threads: int
    children: int


def goes_on(
    directory: Path,
    rounds: int = 3,
    seconds: float = 3.0,
    seed: str = "moon",
    *,
    pace: float = PACE,
    strict: bool = False,
) -> Figures:
    """Do all kinds of work for some rounds; after each round, wait until the gateway is idle, and measure.

    Args:
        seconds: how long a round is.
        pace: seconds between two pieces of work of a worker.
        strict: whether memory must be level after `LEVEL_AFTER_PIECES`, and the second half of the rounds take no more
            descriptors and threads than its beginning.
    """
    command = crash.shell(directory / "work", "cat", "command", max_concurrent=4)
    settings = {"agents": {"list": [*_AGENTS, command]}, "webhooks": {"schedule": [0.0, 0.2, 0.2]}}
    live = Live(directory / "home", settings)
    samples: list[Sample] = []
    done: Counter[str] = Counter()
    with receiving_elsewhere() as elsewhere:
        try:
            live.start()
            every = {"name": "soak", "schedule": "every 1s", "prompt": "Hello"}
            job = live.call("POST", "/api/cron/create", every).body["job"]["id"]
            for number in range(rounds):
                _enable(live, job, True)
                done += _work(live, elsewhere.receiver.url, seconds, pace, f"{seed}-{number}")
                _enable(live, job, False)
                client.wait_idle(live)
                samples.append(_settled(live, done.total()))
                elsewhere.receiver.requests.clear()  # two hours of them are a hundred megabytes
            assert live.stop() == 0
        finally:
            live.close()
    judge(samples, strict=strict)
    broken = [file.name for file in live.log.parent.glob("gateway.log*") if b"Traceback" in file.read_bytes()]
    assert broken == [], broken
    first, last = samples[0], samples[-1]
    return {
        "s": round(rounds * seconds),
        "done": done.total(),
        "MB after pieces": draw_curve(samples),
        "descriptors": f"{first.descriptors} to {last.descriptors}",
        "threads": f"{first.threads} to {last.threads}",
        "tracebacks": 0,
    }


def _enable(live: Live, job: str, enabled: bool) -> None:
    assert live.call("POST", f"/api/cron/{job}/toggle", {"enabled": enabled}).status == 200


def judge(samples: Sequence[Sample], *, strict: bool) -> None:
    """Compare the resources after each round.

    Raises:
        AssertionError: they grow; or there are too few pieces of work to tell.
    """
    first, middle, last = samples[0], samples[len(samples) // 2], samples[-1]
    assert {sample.children for sample in samples} == {0}, samples
    for before, spare in ((first, SPARE), *([(middle, STEADY)] if strict else [])):
        assert last.descriptors <= before.descriptors + spare, samples
        assert last.threads <= before.threads + spare, samples
    if strict:
        assert last.pieces >= LEVEL_SHOWN_FACTOR * LEVEL_AFTER_PIECES, f"too few pieces to tell: {draw_curve(samples)}"
        level, *later = [sample.megabytes for sample in samples if sample.pieces >= LEVEL_AFTER_PIECES]
        assert max(later) <= level + LEVEL_MEGABYTES, f"memory grows: {draw_curve(samples)}"


def draw_curve(samples: Sequence[Sample]) -> str:
    """Return the megabytes after some numbers of pieces: the first, the one from which memory is level, the last."""
    wanted = {last := samples[-1].pieces, samples[0].pieces, LEVEL_AFTER_PIECES}
    wanted |= {last * part // CURVE_POINTS for part in range(1, CURVE_POINTS)}
    shown = dict.fromkeys(next(one for one in samples if one.pieces >= min(count, last)) for count in sorted(wanted))
    return ", ".join(f"{one.megabytes:.0f} ({one.pieces:,})" for one in shown)


def _settled(live: Live, pieces: int) -> Sample:
    """Return the resources as soon as the connections of the finished work are closed."""
    assert live.process is not None
    gateway = psutil.Process(live.process.pid)
    serving = psutil.Process(live.generation.pid)

    def connections() -> int:
        return sum(one.status == psutil.CONN_ESTABLISHED for one in serving.net_connections("tcp"))

    client.until(lambda: connections() == 0, "nobody is connected", pace=0.1)
    client.until(lambda: not serving.children(), "agents' processes are gone", pace=0.1)
    both = (gateway, serving)
    return Sample(
        pieces=pieces,
        megabytes=sum(one.memory_info().rss for one in both) / 1e6,
        descriptors=sum(one.num_fds() for one in both),
        threads=sum(one.num_threads() for one in both),
        children=len(serving.children()),
    )


# --- work -------------------------------------------------------------------------------------


def _work(live: Live, hook: str, seconds: float, pace: float, seed: str) -> Counter[str]:
    """Let some workers do random pieces of work; return how many there were of each kind."""
    workers = [_Worker(live, hook, time.monotonic() + seconds, pace, f"{seed}-{number}") for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    broken = [worker.error for worker in workers if worker.error is not None]
    if broken:
        raise broken[0]
    return sum((worker.done for worker in workers), Counter())


class _Worker(threading.Thread):
    """Does one random piece of work after the other."""

    def __init__(self, live: Live, hook: str, over: float, pace: float, seed: str) -> None:
        super().__init__(name=seed)
        self._live = live
        self._hook = hook
        self._over = over
        self._pace = pace
        self._dice = random.Random(seed)  # noqa: S311 no secret
        self.done: Counter[str] = Counter()
        self.error: Exception | None = None

    def run(self) -> None:
        things: Mapping[str, Callable[[], None]] = {
            "asked": self._ask,
            "asked a command": self._ask_a_command,
            "handed in": self._hand_in,
            "failed": self._fail,
            "cancelled": self._cancel,
            "left a stream": self._leave_a_stream,
            "listed": self._list,
            "refused": self._be_refused,
            "deleted": self._delete,
        }
        try:
            while time.monotonic() < self._over:
                name = self._dice.choice(list(things))
                things[name]()
                self.done[name] += 1
                time.sleep(self._pace)
        except Exception as error:
            self.error = error

    def _call(self, status: int, method: str, path: str, body: Any = None) -> Any:
        answer = self._live.call(method, path, body)
        assert answer.status == status, (path, answer)
        return answer.body

    def _session(self) -> str:
        return f"{self.name}-{self._dice.randrange(20)}"

    def _ask(self) -> None:
        body = {"message": f"@@ say {'much ' * self._dice.randrange(200)}", "session": self._session()}
        self._call(200, "POST", "/api/agent", body)

    def _ask_a_command(self) -> None:
        body = {"message": "Hello", "agentId": "command", "session": self._session()}
        assert self._call(200, "POST", "/api/agent", body)["reply"].strip() == "Hello"

    def _hand_in(self) -> None:
        client.accepted(self._live, "@@ words 20 0.01", webhook=self._hook, labels={"soak": "yes"})

    def _fail(self) -> None:
        task = client.accepted(self._live, "@@ fail on purpose")
        assert client.wait_for(self._live, task, "succeeded", "failed")["status"] == "failed"

    def _cancel(self) -> None:
        task = client.accepted(self._live, "@@ hang")
        self._call(200, "POST", f"/api/tasks/{task}/cancel")
        assert client.wait_for(self._live, task, "succeeded", "cancelled")["status"] == "cancelled"

    def _leave_a_stream(self) -> None:
        task = client.accepted(self._live, "@@ words 10 0.02")
        connection = http.client.HTTPConnection("127.0.0.1", self._live.port, timeout=30)
        headers = {"Authorization": f"Bearer {self._live.token}", "Accept": "text/event-stream"}
        connection.request("GET", f"/api/tasks/{task}/events", headers=headers)
        answer = connection.getresponse()
        assert answer.readline() != b""
        answer.close()
        connection.close()

    def _list(self) -> None:
        for path in ("/api/tasks?label=soak", "/api/sessions", "/api/deliveries", "/api/search?q=much", "/metrics"):
            self._call(200, "GET", path)

    def _be_refused(self) -> None:
        self._call(404, "GET", "/api/tasks/nothing")
        self._call(400, "POST", "/api/tasks", {"input": 7})

    def _delete(self) -> None:
        session = self._call(200, "POST", "/api/sessions", {"chat_id": self._session()})["session"]["key"]
        self._call(200, "DELETE", f"/api/sessions/{session}")
