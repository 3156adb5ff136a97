"""Runs that were labelled before there were projects are counted, and a run without the label costs no scan."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from gateway.domain.run import Status
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore
from tests.store.test_search_migration import made_before


async def test_labelled_runs_from_before_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "moongate.db"
    await made_before("_projects", path, monkeypatch)
    connection = apsw.Connection(str(path))
    for number, (status, name) in enumerate([("failed", "project"), ("failed", "project"), ("failed", "other")], 1):
        connection.execute(
            "INSERT INTO runs (seq, id, agent, session, source, spec, status, priority, created)"
            " VALUES (?, ?, 'main', ?, 'task', '{}', ?, 0, 0)",
            (number, str(number), f"main:x:{number}", status),
        )
        connection.execute("INSERT INTO labels VALUES (?, 'garden', ?)", (name, number))
    connection.close()

    store = SqliteStore(path)
    await store.projects.create("garden", "Garden", "")
    found = (await store.projects.get("garden")).counts
    await store.close()

    assert found == {Status.FAILED: 2}


def test_the_triggers_find_the_project_of_a_run_by_an_index(tmp_path: Path) -> None:
    path = tmp_path / "moongate.db"
    opening.open_writer(path, lambda: 0).close()
    connection = opening.open_reader(path)
    triggers = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema WHERE name LIKE 'run_%project'")]
    wanted = "FROM labels WHERE name = 'project' AND run = "
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT value {wanted} 1").fetchall()
    connection.close()

    assert [sql.count(wanted) > 0 for sql in triggers if "ON labels" not in sql] == [True, True]
    assert "USING COVERING INDEX labels_project" in str(plan)
