"""Uploads, compared with an aiohttp server that writes each body to a file and syncs it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench import load, measure, servers
from bench.load import Load, Slice
from bench.measure import Sample
from bench.report import Figure, Result, Row

#: bytes of a file, and how many clients send such files at the same time
SIZES = {"20 MB": (20_000_000, 4), "64 kB": (64_000, 16)}
#: smallest good ratio of the rates
REACH = 0.7


def run(quick: bool) -> Result:
    figures: list[Figure] = []
    notes: list[str] = []
    with (
        tempfile.TemporaryDirectory() as place,
        servers.gateway(Path(place), settings()) as ours,
        servers.bare("aiohttp_files") as theirs,
    ):
        for name, (size, clients) in SIZES.items():
            slices = _pairs(ours, theirs, size, clients, quick)
            halves = list(measure.halves(slices))
            rate = Sample.of(one.rate / two.rate for one, two in halves)
            cost = Sample.of(one.cost / two.cost for one, two in halves)
            what = f"{name} uploads / bare aiohttp with fsync"
            figures.append(Figure(name=f"{what}: uploads/s", sample=rate, unit="x", reach=REACH, at_most=False))
            figures.append(Figure(name=f"{what}: server CPU", sample=cost, unit="x"))
            notes.append(f"{name}, {clients} clients: {describe(slices, size)}")
    return Result(figures=figures, notes=notes)


def settings() -> dict[str, object]:
    """Return settings whose limits no upload of a benchmark reaches."""
    return {"files": {"quota": 1 << 40}}


def describe(slices: list[Slice], size: int) -> str:
    """Return the figures of both sides in words."""
    sides = {"gateway": slices[::2], "bare aiohttp": slices[1::2]}
    return "; ".join(f"{name} {_describe_side(side, size)}" for name, side in sides.items()) + "."


def _describe_side(slices: list[Slice], size: int) -> str:
    middle = {what: Sample.of(getattr(one, what) for one in slices).median for what in ("cost", "rate", "p50", "p99")}
    return (
        f"{middle['rate']:,.0f}/s ({middle['rate'] * size / 1e6:,.0f} MB/s), {middle['cost'] / 1000:.2f} ms CPU each,"
        f" p50 {middle['p50']:.1f} ms, p99 {middle['p99']:.1f} ms, {len(slices)} slices"
    )


def _pairs(ours: servers.Server, theirs: servers.Server, size: int, clients: int, quick: bool) -> list[Slice]:
    seconds, count = (0.2, 1) if quick else (1.5, 9)
    body = os.urandom(size)

    def take(server: servers.Server, path: str) -> Slice:
        requests = [server.post_bytes(path, body)] * clients
        return load.run(Load(server.port, server.pid, requests, seconds, unique=True))

    return measure.pairs(
        lambda: take(ours, "/api/files"), lambda: take(theirs, "/upload"), count, lambda one, two: one.rate / two.rate
    )


ROW = Row(
    title="Uploads",
    setup="`POST /api/files` from keep-alive clients, each body different, compared with `POST /upload` of"
    " `bench/bare/aiohttp_files.py`, which writes the body to a file as it comes and syncs it. The gateway also"
    " computes the SHA-256, and answers when the file, its place in the directory and its row are on disk.",
    run=run,
)
