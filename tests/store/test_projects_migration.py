"""Runs that were labelled before there were projects are counted, and deleting a run looks nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def test_the_trigger_finds_the_project_of_a_run_by_an_index(tmp_path: Path) -> None:
    path = tmp_path / "moongate.db"
    opening.open_writer(path, lambda: 0).close()
    connection = opening.open_reader(path)
    trigger: Any = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'run_leaves_project'").get
    wanted = "FROM labels WHERE name = 'project' AND run = "
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT value {wanted} 1").fetchall()
    connection.close()

    assert trigger.count("FROM labels") == trigger.count(wanted) == 3
    assert "USING COVERING INDEX labels_project" in str(plan)
