"""Usage by day, agent and schedule, and whether budgets leave room for another run.

The transaction that stores a usage event also counts it, so a crash loses nothing that is on disk and nothing counts
twice. A running run reserves its share simply by being in the table: nothing has to be given back, and two processes
see the same. When a run stops running, it is counted once, on the day on which it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.domain import budget
from gateway.domain.budget import Budget, UsageGroup, UsageGrouping, UsageTotals
from gateway.domain.event import AnyEventData, Usage
from gateway.domain.queue import RunLimits
from gateway.domain.run import Run, Status
from gateway.store.sql.pieces import delete_some
from gateway.store.sql.transaction import Reader, Transaction

#: days for which usage is kept
USAGE_RETENTION_DAYS = 400
#: rows in one report
MAX_USAGE_ROWS = 1000
#: the highest count that is stored, whatever an agent reports
MAX_COUNT = (1 << 53) - 1

_SUM_COLUMNS = "sum(runs), sum(input), sum(output), sum(cached), sum(cost), sum(unpriced), sum(uncounted)"
_COLUMN_OF = {UsageGrouping.DAY: "day", UsageGrouping.AGENT: "agent", UsageGrouping.SCHEDULE: "schedule"}


class BudgetDecision(NamedTuple):
    """Whether budgets let a run begin."""

    #: True: the run may begin now
    go: bool
    #: why it can never begin
    refusal: str | None = None
    #: why it must wait
    wait: str | None = None
    #: whose budget refuses or delays it: that of its agent or of its schedule
    by: UsageGrouping | None = None


# --- counting ---------------------------------------------------------------------------------


def count_usage(tx: Transaction, run: Run, said: Sequence[AnyEventData]) -> None:
    """Add the usage that events report to today."""
    _add_to_day(tx, run, tx.now, _sum_events(said))


def settle_run(tx: Transaction, run: Run, said: Sequence[AnyEventData], after: Run) -> None:
    """Count a run that stops running, and the usage that its last events report.

    Args:
        run: the run before it stopped.
        after: the run as it is now.
    """
    began = run.started or tx.now
    first = int(run.attempt == 1)
    succeeded = after.status is Status.SUCCEEDED
    unpriced = int(after.status.is_final and budget.is_unpriced(after.usage, succeeded))
    uncounted = int(budget.is_uncounted(after.usage, succeeded))
    used = _sum_events(said)
    if tx.days.day_of(began) == tx.days.day_of(tx.now):
        _add_to_day(tx, run, tx.now, used, runs=first, unpriced=unpriced, uncounted=uncounted)
        return
    _add_to_day(tx, run, began, Usage(), runs=first)
    _add_to_day(tx, run, tx.now, used, unpriced=unpriced, uncounted=uncounted)


def _sum_events(said: Sequence[AnyEventData]) -> Usage:
    """Return the usage that events report. Negative numbers count as 0, so that no event takes back another."""
    found = [one for one in said if isinstance(one, Usage)]
    if not found:
        return Usage()
    return Usage(
        input=min(sum(max(one.input, 0) for one in found), MAX_COUNT),
        output=min(sum(max(one.output, 0) for one in found), MAX_COUNT),
        cached=min(sum(max(one.cached, 0) for one in found), MAX_COUNT),
        cost=min(sum(max(one.cost, 0.0) for one in found), float(MAX_COUNT)),
    )


def _add_to_day(
    tx: Transaction, run: Run, at: int, used: Usage, *, runs: int = 0, unpriced: int = 0, uncounted: int = 0
) -> None:
    if not runs and not unpriced and not uncounted and used == Usage():
        return
    tx.execute(
        "INSERT INTO usage (agent, day, schedule, runs, input, output, cached, cost, unpriced, uncounted)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (agent, day, schedule)"
        f" DO UPDATE SET runs = usage.runs + ?4, input = min(usage.input + ?5, {MAX_COUNT}),"
        f" output = min(usage.output + ?6, {MAX_COUNT}), cached = min(usage.cached + ?7, {MAX_COUNT}),"
        f" cost = min(usage.cost + ?8, {MAX_COUNT}), unpriced = usage.unpriced + ?9, uncounted = usage.uncounted + ?10",
        (
            run.spec.agent,
            tx.days.day_of(at),
            run.spec.schedule_id or "",
            runs,
            used.input,
            used.output,
            used.cached,
            used.cost,
            unpriced,
            uncounted,
        ),
    )


def prune_usage(tx: Transaction) -> bool:
    return delete_some(
        tx,
        "DELETE FROM usage WHERE (agent, day, schedule) IN (SELECT agent, day, schedule FROM usage INDEXED BY"
        " usage_day WHERE day < :first ORDER BY day LIMIT :rows)",
        {"first": tx.days.day_before(tx.now, USAGE_RETENTION_DAYS)},
    )


# --- asking -----------------------------------------------------------------------------------


def check_budgets(reader: Reader, run: Run, limits: RunLimits) -> BudgetDecision:
    """Decide whether the budgets of a run's agent and schedule let it begin."""
    spec = run.spec
    asked = BudgetDecision(True)
    for whose, limit, by, name in (
        ("agent", limits.budgets.get(spec.agent), UsageGrouping.AGENT, spec.agent),
        ("schedule", spec.budget, UsageGrouping.SCHEDULE, spec.schedule_id or ""),
    ):
        if limit is not None and asked.refusal is None:
            found = _check_budget(reader, run, limit, by, name, f"{whose} {name!r}")
            asked = found._replace(by=by) if not found.go else asked
    return asked


def _check_budget(reader: Reader, run: Run, limit: Budget, by: UsageGrouping, name: str, whose: str) -> BudgetDecision:
    days, now = reader.days, reader.now
    used, at_work = _sum_today(reader, by, name)
    if run.attempt:  # it has been counted
        limit = Budget(tokens=limit.tokens, cost=limit.cost)
    found = budget.find_reached_limit(limit, used)
    if found is not None:
        return BudgetDecision(False, budget.describe_refusal(whose, found, days.day_end(now)))
    limits_amounts = limit.tokens is not None or limit.cost is not None
    if at_work and limits_amounts and budget.must_wait(limit, used, _sum_recent(reader, by, name), at_work):
        return BudgetDecision(False, wait=budget.describe_wait(whose, at_work, days.day_end(now)))
    return BudgetDecision(True)


# --- reading ----------------------------------------------------------------------------------


def sum_today(reader: Reader, by: UsageGrouping, name: str) -> UsageTotals:
    """Return what an agent or a schedule has used today, including running runs.

    Runs without tokens count as uncounted only if none reported tokens lately: an agent that does reports all.
    """
    return _sum_today(reader, by, name)[0]


def _sum_today(reader: Reader, by: UsageGrouping, name: str) -> tuple[UsageTotals, int]:
    """Return today's usage and the number of running runs."""
    mine = (
        "agent = ?2"
        if by is UsageGrouping.AGENT
        else "source = 'cron' AND iif(json_valid(spec), json_extract(spec, '$.labels.schedule'), NULL) = ?2"
    )
    row: Any = reader.execute(
        "SELECT count(*), count(*) FILTER (WHERE status = 'running' AND attempt = 1 AND started >= ?1"
        " OR status = 'queued' AND attempt = 0)"  # that one was dispatched, and has not begun
        f" FROM runs INDEXED BY runs_running WHERE {reader.dialect.takes_place} AND {mine}",
        (reader.days.day_start(reader.now), name),
    ).fetchone()
    at_work, started = row
    used = _sum_since(reader, by, name, reader.days.day_of(reader.now))
    if used.uncounted and _sum_recent(reader, by, name).total_tokens:
        used = msgspec.structs.replace(used, uncounted=0)
    return msgspec.structs.replace(used, runs=used.runs + started), at_work


def _sum_recent(reader: Reader, by: UsageGrouping, name: str) -> UsageTotals:
    """Return the usage of the days from which the average of a run is computed."""
    return _sum_since(reader, by, name, reader.days.day_before(reader.now, budget.RUN_AVERAGE_DAYS - 1), ">=")


def _sum_since(reader: Reader, by: UsageGrouping, name: str, day: str, which: str = "=") -> UsageTotals:
    """Return the usage of one day, or of all days since."""
    mine = "agent = ?1" if by is UsageGrouping.AGENT else "schedule = ?1 AND schedule <> ''"
    return _decode_sums(
        reader.execute(f"SELECT {_SUM_COLUMNS} FROM usage WHERE {mine} AND day {which} ?2", (name, day)).fetchone()
    )


def _decode_sums(row: Any) -> UsageTotals:
    return UsageTotals(**dict(zip(UsageTotals.__struct_fields__, (number or 0 for number in row), strict=True)))


def sum_days(reader: Reader, by: UsageGrouping, since: str, until: str, agent: str | None = None) -> list[UsageGroup]:
    """Return the usage of some days, both ends included: days in order; agents and schedules with most tokens first."""
    name = _COLUMN_OF[by]
    mine = "" if agent is None else " AND agent = ?3"
    some = " AND schedule <> ''" if by is UsageGrouping.SCHEDULE else ""
    order = "1" if by is UsageGrouping.DAY else "sum(input + output) DESC, 1"
    rows = reader.execute(
        f"SELECT {name}, {_SUM_COLUMNS} FROM usage WHERE day BETWEEN ?1 AND ?2{mine}{some}"
        f" GROUP BY 1 ORDER BY {order} LIMIT {MAX_USAGE_ROWS}",
        (since, until) if agent is None else (since, until, agent),
    )
    return [UsageGroup(name=str(row[0]), totals=_decode_sums(row[1:])) for row in rows]
