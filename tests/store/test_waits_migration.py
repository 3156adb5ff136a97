"""The migration that lists permission requests over all runs numbers those that are stored by the time of asking."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from gateway.domain.page import Page
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore

RUN = (
    "INSERT INTO runs (seq, id, agent, session, source, spec, status, priority, created)"
    " VALUES (?, ?, 'main', 'main:test:a', 'task', '{}', 'succeeded', 0, 0)"
)
ASKED = "INSERT INTO permissions (run, n, event, action, choices, asked, expires) VALUES (?, ?, 1, ?, '[]', ?, 9)"


async def test_requests_of_before_are_listed_by_the_time_of_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "moongate.db"
    known = opening.read_migrations()
    with monkeypatch.context() as patch:
        before = known[: next(at for at, one in enumerate(known) if "waits" in one.name)]
        patch.setattr(opening, "read_migrations", lambda: before)
        with contextlib.closing(opening.open_writer(path, lambda: 0)) as connection:
            for seq, id_ in ((1, "A"), (2, "B")):
                connection.execute(RUN, (seq, id_))
            for asked in ((1, 1, "first", 5), (1, 2, "third", 7), (2, 1, "second", 6)):
                connection.execute(ASKED, asked)

    store = SqliteStore(path)
    listed = await store.permissions.list_all(None, Page())
    await store.close()

    assert [one.request.action for one in listed] == ["third", "second", "first"]
