"""What keeps queued runs from beginning, by the same rules as a claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain.queue import RunBlockers, RunLimits
from gateway.domain.run import Run
from gateway.store.sql import usage
from gateway.store.sql.transaction import Reader


def find_blockers(reader: Reader, runs: Sequence[Run], limits: RunLimits) -> dict[str, RunBlockers]:
    """Return what keeps queued runs from beginning, by their ids."""
    taken = reader.dialect.takes_place
    at_work = f"SELECT agent, count(*) FROM runs INDEXED BY runs_running WHERE {taken} GROUP BY agent"
    working = dict(reader.execute(at_work))
    background: Any = reader.execute(
        f"SELECT count(*) FROM runs INDEXED BY runs_background WHERE source = 'background' AND {taken}"
    ).get
    return {
        run.id: RunBlockers(
            not_before=_due_at(reader, run),
            earlier_run=_find_run_before(reader, run),
            running_of_agent=working.get(run.spec.agent, 0),
            running_in_all=sum(working.values()),
            running_in_background=background,
            budget_wait=usage.check_budgets(reader, run, limits).wait,
            budget_resets_at=reader.days.day_end(reader.now),
        )
        for run in runs
    }


def _due_at(reader: Reader, run: Run) -> int | None:
    found: Any = reader.execute("SELECT run_at FROM runs WHERE seq = ?", (run.seq,)).get
    return found  # type: ignore[no-any-return]


def _find_run_before(reader: Reader, run: Run) -> str | None:
    """Return the id of the run that is before it in its session: the running one, or else the next one."""
    found: Any = reader.execute(
        "SELECT id FROM runs INDEXED BY runs_head WHERE session = ? AND (status = 'running' OR ready = 1) AND seq <> ?",
        (run.spec.session, run.seq),
    ).get
    return found  # type: ignore[no-any-return]
