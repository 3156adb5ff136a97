"""Time of a task, from its creation to its end, with a model on this machine; memory after many tasks."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import measure, peers, servers
from bench.measure import Sample
from bench.report import Figure, Result, Row

#: number of tasks, one after the other, and how many of them run before the first measurement of memory
TASKS, WARM = 600, 20


def run(quick: bool) -> Result:
    tasks, warm = (6, 2) if quick else (TASKS, WARM)
    with tempfile.TemporaryDirectory() as place, _model() as model:
        agent = {"id": "main", "backend": "openai", "base_url": f"http://127.0.0.1:{model}/v1", "model": "scripted"}
        with servers.gateway(Path(place), {"agents": {"list": [agent]}}) as ours:
            _created_to_done(ours, warm)
            idle = measure.memory(ours.pid)
            taken = _created_to_done(ours, tasks)
            grown = measure.memory(ours.pid) / idle
    figures = [
        Figure(name="task created to done, local model: p50", sample=_p50(taken), unit="ms"),
        Figure(name=f"memory after {TASKS} tasks / idle", sample=Sample.exactly(grown), unit="x", reach=1.3),
    ]
    notes = [
        f"{tasks} tasks; p99 {measure.percentile(taken, 0.99):.1f} ms; idle {idle:.1f} MiB, then {grown:.2f} times."
    ]
    peer = None if quick else peers.fastapi()
    if peer is not None:
        with servers.bare("fastapi_echo", peer) as third:
            echoed = _posted(third, third.path, tasks)
        figures.append(Figure(name="FastAPI + uvicorn echo, for scale: p50", sample=_p50(echoed), unit="ms"))
        notes.append(f"peer: {peers.versions(peer)}.")
    return Result(figures=figures, notes=notes)


def _p50(taken: list[float]) -> Sample:
    part = max(len(taken) // 10, 1)
    return Sample.of(measure.percentile(taken[at : at + part], 0.5) for at in range(0, len(taken), part))


def _created_to_done(server: servers.Server, count: int) -> list[float]:
    """Return the milliseconds from each task's POST to the end of its event stream."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=servers.PATIENCE)
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        task = json.loads(_call(connection, "POST", "/api/tasks", {"input": "What is the time?"}))["task"]["id"]
        events = _call(connection, "GET", f"/api/tasks/{task}/events")
        taken.append((time.perf_counter() - began) * 1000)
        assert b'"status":"succeeded"' in events, events[-500:]
    connection.close()
    return taken


def _posted(server: servers.Server, path: str, count: int) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=servers.PATIENCE)
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        _call(connection, "POST", path, {"input": "What is the time?"})
        taken.append((time.perf_counter() - began) * 1000)
    connection.close()
    return taken


def _call(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> bytes:
    headers = {"Authorization": f"Bearer {servers.TOKEN}", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    data = response.read()
    assert response.status < 300, data
    return data


@contextmanager
def _model() -> Iterator[int]:
    """Run the scripted model in its own process; yield its port."""
    port = servers.free_port()
    command = [sys.executable, "-m", "harness.scripted_model", str(port)]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(servers.ROOT)}
    process = subprocess.Popen(command, env=env, cwd=servers.ROOT, stdout=subprocess.DEVNULL)
    try:
        _wait(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + servers.PATIENCE
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/state")
            connection.getresponse().read()
            connection.close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the model does not answer")


ROW = Row(
    title="Tasks through a local model",
    setup="One client creates one task after the other with `POST /api/tasks`, each in its own session, and follows"
    " its events to the end; the agent has the backend `openai`, and its model is a scripted server on this machine."
    " Memory is PSS of the gateway and all its descendants, after the first tasks and after all tasks.",
    run=run,
)
