"""Downloads, compared with an aiohttp server that answers with a `FileResponse`."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from bench import load, measure, servers
from bench.load import Load, Slice
from bench.measure import Sample
from bench.report import Figure, Result, Row
from bench.rows import upload

#: smallest good ratio of the rates
REACH = 0.7


def run(quick: bool) -> Result:
    figures: list[Figure] = []
    notes: list[str] = []
    with (
        tempfile.TemporaryDirectory() as place,
        servers.gateway(Path(place), upload.settings()) as ours,
        servers.bare("aiohttp_files") as theirs,
    ):
        for name, (size, clients) in upload.SIZES.items():
            slices = _pairs(ours, theirs, size, clients, quick)
            rate = Sample.of(one.rate / two.rate for one, two in measure.halves(slices))
            figures.append(
                Figure(
                    name=f"{name} downloads / bare aiohttp: downloads/s",
                    sample=rate,
                    unit="x",
                    reach=REACH if size > 1_000_000 else None,
                    at_most=False,
                )
            )
            notes.append(f"{name}, {clients} clients: {upload.describe(slices, size)}")
    return Result(figures=figures, notes=notes)


def _pairs(ours: servers.Server, theirs: servers.Server, size: int, clients: int, quick: bool) -> list[Slice]:
    seconds, count = (0.2, 1) if quick else (1.5, 9)
    body = os.urandom(size)
    our_path = f"/api/files/{_upload(ours, '/api/files', body)}"
    their_path = f"/files/{_upload(theirs, '/upload', body)}"

    def take(server: servers.Server, path: str) -> Slice:
        return load.run(Load(server.port, server.pid, [server.get(path)] * clients, seconds))

    return measure.pairs(
        lambda: take(ours, our_path), lambda: take(theirs, their_path), count, lambda one, two: one.rate / two.rate
    )


def _upload(server: servers.Server, path: str, body: bytes) -> str:
    """Return the id of a new file."""
    answer = server.exchange(server.post_bytes(path, body))
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["file"]["id"])


ROW = Row(
    title="Downloads",
    setup="`GET /api/files/{id}` of one file from keep-alive clients, compared with `GET /files/{name}` of"
    " `bench/bare/aiohttp_files.py`, a `FileResponse` after a bearer check.",
    run=run,
)
