"""Background runs that were stored before they were counted are included in the count."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from gateway.domain.queue import BackgroundCounts
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore


async def test_background_runs_from_before_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "moongate.db"
    known = opening.read_migrations()
    before = known[: next(at for at, one in enumerate(known) if "background" in one.name)]
    with monkeypatch.context() as patch:
        patch.setattr(opening, "read_migrations", lambda: before)
        await SqliteStore(path).close()
    connection = apsw.Connection(str(path))
    for number, status in enumerate(["queued", "queued", "running", "succeeded"]):
        connection.execute(
            "INSERT INTO runs (id, agent, session, source, spec, status, priority, created)"
            " VALUES (?, 'main', ?, 'background', '{}', ?, 0, 0)",
            (str(number), f"main:x:{number}", status),
        )
    connection.close()

    store = SqliteStore(path)
    found = await store.runs.count_backlog()
    await store.close()

    assert found == BackgroundCounts(active=1, queued=2, total=4)
