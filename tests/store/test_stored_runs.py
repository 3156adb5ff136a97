"""Runs that another version of the gateway stored can still be read."""

from __future__ import annotations

from pathlib import Path

import apsw

from gateway.domain.page import Page
from gateway.domain.run import RunFilter, RunSpec, Source
from gateway.store.sqlite.store import SqliteStore


async def test_a_run_whose_stored_spec_has_a_field_that_was_removed_can_be_read(tmp_path: Path) -> None:
    await SqliteStore(tmp_path / "moongate.db").close()
    connection = apsw.Connection(str(tmp_path / "moongate.db"))
    connection.execute(
        "INSERT INTO runs (id, agent, session, source, spec, status, priority, ready, created)"
        " VALUES ('1', 'main', 'main:desktop:a', 'message', ?, 'queued', 0, 1, 0)",
        # as 0.1.0 wrote a message's run: with `reply_to`, which nothing ever read
        (
            '{"source":"message","agent":"main","session":"main:desktop:a","input":"hello",'
            '"reply_to":{"channel":"desktop","chat":"a"}}',
        ),
    )
    connection.close()

    store = SqliteStore(tmp_path / "moongate.db")
    (found,) = await store.runs.list(RunFilter(), Page())
    await store.close()

    assert found.spec == RunSpec(source=Source.MESSAGE, agent="main", session="main:desktop:a", input="hello")
