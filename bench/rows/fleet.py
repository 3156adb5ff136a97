"""A fleet as processes on one PostgreSQL server, compared with Procrastinate alone on the same server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from bench import load, measure, servers
from bench.load import Load
from bench.measure import Sample
from bench.report import Figure, Result, Row
from bench.rows.postgres import prepare_peer
from bench.servers import ROOT, TOKEN, Server
from harness.postgres_server import PostgresServer, find_programs, running_server
from harness.waiting import until_sync

#: clients, and places of each worker
FLEET_CLIENTS = 32
#: numbers of workers
FLEET_SIZES = (1, 2, 4)
#: seconds between two runs, so that the fleet is idle before each
IDLE_PAUSE_SECONDS = 0.15
#: jobs of Procrastinate in a slice
PEER_JOBS = 400


class FleetRates(NamedTuple):
    """What one side does in a second."""

    #: runs accepted, or jobs deferred
    accepted: float
    #: runs or jobs done, from the first one sent to the last one done
    done: float


class FleetBench:
    """A database of ours and one of Procrastinate, on one server, and the members of ours."""

    def __init__(self, server: PostgresServer, place: Path, quick: bool) -> None:
        self._place = place
        self._url = server.create_database("ours")
        self._peer_url = server.create_database("theirs")
        self._seconds, self._jobs = (0.1, 20) if quick else (1.5, PEER_JOBS)
        self._count = 1 if quick else 6
        asyncio.run(prepare_peer(self._peer_url))

    @contextlib.contextmanager
    def member(self, name: str, slots: int, role: str = "gateway") -> Iterator[Server]:
        """Run a member of the fleet on a host of its own name."""
        settings = {
            "store": {"url": self._url},
            "fleet": {"host": name, "role": role, "slots": slots},
            "agents": {"list": [{"id": "main", "backend": "echo", "max_concurrent": 1024}]},
        }
        with servers.gateway(self._place / name, settings) as member:
            until_sync(lambda: self._ask("SELECT count(*) FROM nodes WHERE host = %s", name) > 0, f"{name} is a member")
            yield member

    def count_workers(self) -> int:
        return int(self._ask("SELECT count(*) FROM nodes WHERE role = 'worker'"))

    def compare(self, gateway: Server, workers: int) -> list[FleetRates]:
        """Return slices of our side and of Procrastinate, alternating."""
        return measure.pairs(
            lambda: self._measure_own(gateway, workers > 0),
            lambda: self._measure_peer(workers),
            self._count,
            lambda one, two: one.done / two.done,
        )

    def measure_starts(self, gateway: Server, count: int) -> list[float]:
        """Return the milliseconds from sending a task to the start of its run, by the clock of this machine."""
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=servers.PATIENCE)
        taken = []
        self._wait_until_idle()
        for _ in range(count):
            time.sleep(IDLE_PAUSE_SECONDS)
            sent = time.time() * 1000
            run = _post_task(connection)
            self._wait_until_idle()
            taken.append(self._ask("SELECT started FROM runs WHERE id = %s", run) - sent)
        connection.close()
        return taken

    def _measure_own(self, gateway: Server, has_workers: bool) -> FleetRates:
        since = self._ask("SELECT coalesce(max(seq), 0) FROM runs")
        warm_up = 0.0 if has_workers else 0.3  # every run counts, from the first one
        request = gateway.post("/api/tasks", {"input": "What is the time?"})
        sent = load.run(Load(gateway.port, gateway.pid, [request] * FLEET_CLIENTS, self._seconds, warm_up=warm_up))
        if not has_workers:
            return FleetRates(sent.rate, sent.rate)
        self._wait_until_idle()
        done = self._ask("SELECT count(*) * 1000.0 / (max(finished) - min(created)) FROM runs WHERE seq > %s", since)
        return FleetRates(sent.rate, float(done))

    def _measure_peer(self, workers: int) -> FleetRates:
        program = str(ROOT / "bench" / "bare" / "procrastinate_fleet.py")
        numbers = map(str, (self._jobs, FLEET_CLIENTS, workers))
        command = [sys.executable, program, self._peer_url, *numbers]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
        return FleetRates(*map(float, said.split()))

    def _wait_until_idle(self) -> None:
        waiting = "SELECT count(*) FROM runs WHERE status IN ('queued', 'running')"
        until_sync(lambda: self._ask(waiting) == 0, "all runs have ended", 300)

    @cached_property
    def _connection(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url, autocommit=True, options="-c search_path=moongate")

    def _ask(self, query: str, *values: Any) -> Any:
        """Return the first value that a query finds."""
        row = self._connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row[0]


def run(quick: bool) -> Result:
    programs = find_programs()
    if programs is None:
        return Result(skipped="PostgreSQL is not installed")
    found = Result()
    with tempfile.TemporaryDirectory() as place, running_server(programs, durable=True) as server:
        bench = FleetBench(server, Path(place), quick)
        with contextlib.ExitStack() as members:
            gateway = members.enter_context(bench.member("gateway", 0))
            for size in FLEET_SIZES:
                for number in range(bench.count_workers(), size):
                    members.enter_context(bench.member(f"worker-{number}", FLEET_CLIENTS, "worker"))
                if size == 1:
                    _add_starts(found, bench.measure_starts(gateway, 5 if quick else 100))
                _add_comparison(found, f"runs / jobs, {size} worker{'s' * (size > 1)}", bench.compare(gateway, size))
        with bench.member("alone", FLEET_CLIENTS) as gateway:
            _add_comparison(found, "runs / jobs, a gateway alone", bench.compare(gateway, 1))
        with bench.member("gateway", 0) as gateway:  # the last one: nobody does what it has accepted
            _add_comparison(found, "accept / defer", bench.compare(gateway, 0))
    return found


def _post_task(connection: http.client.HTTPConnection) -> str:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    connection.request("POST", "/api/tasks", json.dumps({"input": "What is the time?"}), headers)
    return str(json.loads(connection.getresponse().read())["task"]["id"])


def _add_starts(found: Result, taken: list[float]) -> None:
    part = max(len(taken) // 10, 1)
    p50 = Sample.of(measure.percentile(taken[at : at + part], 0.5) for at in range(0, len(taken), part))
    p99 = Sample.exactly(measure.percentile(taken, 0.99))
    found.figures.append(Figure(name="fleet: idle task -> run starts: p50", sample=p50, unit="ms", reach=25.0))
    found.figures.append(Figure(name="fleet: idle task -> run starts: p99", sample=p99, unit="ms"))


def _add_comparison(found: Result, name: str, slices: list[FleetRates]) -> None:
    own, peer = slices[::2], slices[1::2]
    ratio = Sample.of(one.done / two.done for one, two in measure.halves(slices))
    found.figures.append(Figure(name=f"fleet: {name}", sample=ratio, unit="x", reach=0.6, at_most=False))
    found.notes.append(f"{name}: {_describe(own)}; Procrastinate {_describe(peer)}; {len(own)} pairs.")


def _describe(rates: list[FleetRates]) -> str:
    accepted, done = Sample.of(rate.accepted for rate in rates), Sample.of(rate.done for rate in rates)
    return f"{accepted.median:,.0f}/s accepted, {done.median:,.0f}/s done ({done.low:,.0f} to {done.high:,.0f})"


ROW = Row(
    title="Fleet",
    setup="One gateway that only accepts and 1, 2 and 4 workers, as processes, on a durable PostgreSQL server of their"
    f" own on a socket. {FLEET_CLIENTS} clients create tasks of an agent that answers at once, each in a session of its"
    " own, while the workers do them; compared with Procrastinate alone, whose clients defer jobs that do nothing while"
    " as many workers do them. Done is counted from the first one sent to the last one done.",
    run=run,
)
