"""Durable acceptance of a message, compared with an aiohttp server that only echoes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import load, measure, peers, servers
from bench.load import Load, Slice
from bench.measure import Sample
from bench.report import Figure, Result, Row

CLIENTS = 64


def run(quick: bool) -> Result:
    peer = None if quick else peers.fastapi()
    with tempfile.TemporaryDirectory() as place, servers.gateway(Path(place), _busy_agent()) as ours:
        _occupy(ours)
        with servers.bare() as theirs:
            slices = _pairs(ours, theirs, quick)
            result = _result(slices)
            if peer is not None:
                with servers.bare("fastapi_echo", peer) as third:
                    others = _pairs(third, theirs, quick)
                result.figures.extend(_against_bare("FastAPI + uvicorn echo / bare aiohttp echo", others))
                result.notes.append(_note(f"peer ({peers.versions(peer)})", others[::2]))
    return result


def _busy_agent() -> dict[str, object]:
    """Return the settings of one agent that does one run at a time."""
    return {"agents": {"list": [{"id": "main", "backend": "echo", "script": True, "max_concurrent": 1}]}}


def _occupy(gateway: servers.Server) -> None:
    """Start a run that does not end."""
    gateway.exchange(gateway.post("/api/message", {"channel": "webchat", "chat_id": "busy", "content": "@@ hang"}))


def _pairs(first: servers.Server, second: servers.Server, quick: bool) -> list[Slice]:
    seconds, count = (0.2, 1) if quick else (2.0, 9)
    return measure.pairs(
        lambda: _slice(first, seconds), lambda: _slice(second, seconds), count, lambda one, two: one.cost / two.cost
    )


def _slice(server: servers.Server, seconds: float) -> Slice:
    requests = [
        server.post(server.path, {"channel": "webchat", "chat_id": f"chat-{number}", "content": "What is the time?"})
        for number in range(CLIENTS)
    ]
    return load.run(Load(server.port, server.pid, requests, seconds))


def _against_bare(
    name: str, slices: list[Slice], reach: tuple[float | None, float | None] = (None, None)
) -> list[Figure]:
    halves = list(measure.halves(slices))
    cost = Sample.of(one.cost / two.cost for one, two in halves)
    rate = Sample.of(one.rate / two.rate for one, two in halves)
    return [
        Figure(name=f"{name}: server CPU a request", sample=cost, unit="x", reach=reach[0]),
        Figure(name=f"{name}: requests/s", sample=rate, unit="x", reach=reach[1], at_most=False),
    ]


def _result(slices: list[Slice]) -> Result:
    notes = [_note("gateway", slices[::2]), _note("bare aiohttp", slices[1::2])]
    return Result(figures=_against_bare("durable accept / bare aiohttp echo", slices, (2.0, 0.5)), notes=notes)


def _note(name: str, slices: list[Slice]) -> str:
    middle = {what: Sample.of(getattr(one, what) for one in slices).median for what in ("cost", "rate", "p50", "p99")}
    share = Sample.of(one.client_cpu / one.seconds for one in slices).median
    return (
        f"{name}: {middle['cost']:.0f} us CPU a request, {middle['rate']:,.0f} requests/s,"
        f" p50 {middle['p50']:.1f} ms, p99 {middle['p99']:.1f} ms; the load generator used {share:.0%} of a core;"
        f" {len(slices)} slices."
    )


ROW = Row(
    title="Durable accept",
    setup=f"`POST /api/message` from {CLIENTS} keep-alive clients, each in its own chat, compared with `POST /echo` of"
    " `bench/bare/aiohttp_echo.py` with the same body and a bearer check. A 200 means that the run is on disk"
    " (fdatasync). The gateway has its default log level, and a run that does not end keeps its only agent busy, so"
    " the row measures the acceptance only.",
    run=run,
)
