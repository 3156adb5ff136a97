"""Memory at rest."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import load, measure, servers
from bench.load import Load
from bench.measure import Sample
from bench.report import Figure, Result, Row


def run(quick: bool) -> Result:
    seconds, count = (0.1, 1) if quick else (1.0, 5)
    pairs = [_pair(seconds) for _ in range(count)]
    ratio = Sample.of(ours / theirs for ours, theirs in pairs)
    ours, theirs = (Sample.of(side).median for side in zip(*pairs, strict=True))
    return Result(
        figures=[Figure(name="idle memory / bare aiohttp", sample=ratio, unit="x", reach=1.7)],
        notes=[f"gateway {ours:.1f} MiB, bare aiohttp {theirs:.1f} MiB; {count} pairs of fresh processes."],
    )


def _pair(seconds: float) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as place, servers.gateway(Path(place)) as ours, servers.bare() as theirs:
        for server in (ours, theirs):
            _use(server, seconds)
        return measure.memory(ours.pid), measure.memory(theirs.pid)


def _use(server: servers.Server, seconds: float) -> None:
    """Send some requests: an unused process has not loaded all its modules yet."""
    request = server.post(server.path, {"channel": "webchat", "chat_id": "one", "content": "What is the time?"})
    load.run(Load(server.port, server.pid, [request], seconds))


ROW = Row(
    title="Idle memory",
    setup="PSS of the gateway and all its descendants, and of the bare aiohttp server, while both run, after a second"
    " of requests from one client (at the gateway, each is a run of the echo agent).",
    run=run,
)
