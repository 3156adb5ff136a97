"""The number of runs in each status, updated with every move, so that no query counts rows."""

from __future__ import annotations

from typing import Any

from gateway.domain.project import PROJECT_LABEL
from gateway.domain.run import (
    RunSpec,
    Source,
    Status,
)
from gateway.store.sqlite.database import Transaction


def move_count(tx: Transaction, spec: RunSpec, status: Status, before: Status | None = None) -> None:
    """Count a run under its new status, and no longer under its old one."""
    for kind in ("", f"{Source.BACKGROUND} ") if spec.source is Source.BACKGROUND else ("",):
        tx.execute("INSERT INTO tally VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (f"{kind}{status}",))
        if before is not None:
            tx.execute("UPDATE tally SET n = n - 1 WHERE status = ?", (f"{kind}{before}",))
    if (project := spec.labels.get(PROJECT_LABEL)) is not None:
        move_project_count(tx, project, status, before)


def move_project_count(tx: Transaction, project: str, status: str, before: str | None = None) -> None:
    """Count a run of a project under its new status, and no longer under its old one.

    A trigger counts runs no longer that are deleted. Moves have none: it would make each update four times as slow.
    """
    tx.execute("INSERT INTO project_tally VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (project, status))
    if before is not None:
        tx.execute("UPDATE project_tally SET n = n - 1 WHERE project = ? AND status = ?", (project, before))
        tx.execute("DELETE FROM project_tally WHERE project = ? AND status = ? AND n = 0", (project, before))


def count_runs(tx: Transaction, *statuses: Status) -> int:
    wanted = ", ".join("?" * len(statuses))
    found: Any = tx.execute(f"SELECT sum(n) FROM tally WHERE status IN ({wanted})", statuses).get
    return found or 0
