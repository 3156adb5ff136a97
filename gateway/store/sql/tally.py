"""The number of runs in each status, updated with every move, so that no query counts rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gateway.domain.project import PROJECT_LABEL
from gateway.domain.run import (
    RunSpec,
    Source,
    Status,
)
from gateway.store.sql.transaction import Transaction

_ADD = "INSERT INTO tally VALUES (?1, ?2) ON CONFLICT (status) DO UPDATE SET n = tally.n + ?2"
_ADD_TO_PROJECT = (
    "INSERT INTO project_tally VALUES (?, ?, 1) ON CONFLICT (project, status) DO UPDATE SET n = project_tally.n + 1"
)


class _Moves:
    """How much each number changes in a transaction."""

    def __init__(self) -> None:
        self.added = 0
        #: the changes, by the key of their row
        self.changes: Counter[str] = Counter()
        #: the numbers before, by the key of their row; None until they are needed
        self._before: dict[str, int] | None = None

    def add(self, key: str, number: int) -> None:
        self.added += 1
        self.changes[key] += number

    def count(self, tx: Transaction, key: str) -> int:
        """Return the number as it is now."""
        if self._before is None:
            rows: Any = tx.execute("SELECT status, n FROM tally")
            self._before = dict(rows)
        return self._before.get(key, 0) + self.changes[key]

    def write(self, tx: Transaction) -> None:
        for key, number in self.changes.items():
            if number:
                tx.execute(
                    "INSERT INTO tally VALUES (?1, ?2) ON CONFLICT (status) DO UPDATE SET n = tally.n + ?2",
                    (key, number),
                )


def move_count(tx: Transaction, spec: RunSpec, status: Status, before: Status | None = None) -> None:
    """Count a run under its new status, and no longer under its old one."""
    add_to_count(tx, spec.source, status, 1)
    if before is not None:
        add_to_count(tx, spec.source, before, -1)
    if (project := spec.labels.get(PROJECT_LABEL)) is not None:
        move_project_count(tx, project, status, before)


def add_to_count(tx: Transaction, source: str, status: str, number: int) -> None:
    """Change the number of runs of a source that have a status."""
    moves = tx.defer(_Moves)
    moves.add(status, number)
    if source == Source.BACKGROUND:
        moves.add(f"{Source.BACKGROUND} {status}", number)


def move_project_count(tx: Transaction, project: str, status: str, before: str | None = None) -> None:
    """Count a run of a project under its new status, and no longer under its old one.

    A trigger counts runs no longer that are deleted. Moves have none: it would make each update four times as slow.
    """
    tx.execute(_ADD_TO_PROJECT, (project, status))
    if before is not None:
        tx.execute("UPDATE project_tally SET n = n - 1 WHERE project = ? AND status = ?", (project, before))
        tx.execute("DELETE FROM project_tally WHERE project = ? AND status = ? AND n = 0", (project, before))


def count_runs(tx: Transaction, *statuses: Status) -> int:
    """Return how many runs have one of these statuses, those included that this transaction has moved."""
    moves = tx.defer(_Moves)
    return sum(moves.count(tx, status) for status in statuses)
