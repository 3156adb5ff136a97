"""What stands before queued runs: read as a claim reads it, and nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from gateway.domain.budget import Days
from gateway.domain.queue import Limits, Obstacles
from gateway.domain.run import Run
from gateway.store.sqlite import usage


def found(
    connection: apsw.Connection, runs: Sequence[Run], limits: Limits, days: Days, now: int
) -> dict[str, Obstacles]:
    """Return what stands before runs that are queued, by their ids."""
    at_work = "SELECT agent, count(*) FROM runs INDEXED BY runs_running WHERE status = 'running' GROUP BY agent"
    working = dict(connection.execute(at_work))
    background: Any = connection.execute(
        "SELECT count(*) FROM runs INDEXED BY runs_background WHERE source = 'background' AND status = 'running'"
    ).get
    return {
        run.id: Obstacles(
            due=_due(connection, run),
            before=_before(connection, run),
            working=working.get(run.spec.agent, 0),
            total=sum(working.values()),
            background=background,
            budget=usage.ask(connection, run, limits, days, now).wait,
            begins_anew=days.end(now),
        )
        for run in runs
    }


def _due(connection: apsw.Connection, run: Run) -> int | None:
    found: Any = connection.execute("SELECT run_at FROM runs WHERE seq = ?", (run.seq,)).get
    return found  # type: ignore[no-any-return]


def _before(connection: apsw.Connection, run: Run) -> str | None:
    """Return the id of the run that goes first in its session: the one at work, or else the next one."""
    found: Any = connection.execute(
        "SELECT id FROM runs INDEXED BY runs_head WHERE session = ? AND (status = 'running' OR ready = 1) AND seq <> ?",
        (run.spec.session, run.seq),
    ).get
    return found  # type: ignore[no-any-return]
