"""What becomes of open work in a database that was restored from a backup, before a gateway opens it.

The gateway that made the backup may have worked on: what was open then may have been done since. So it is ended, and a
person decides what to repeat.
"""

from __future__ import annotations

from typing import Any

from gateway.domain.alert import AlertMessageStatus
from gateway.domain.delivery import DeliveryStatus
from gateway.domain.run import Move, Outcome, Status
from gateway.domain.schedule import FirePlan, decide_fires
from gateway.errors import GatewayError
from gateway.store.sql import deliveries, event_log, firing, run_queries, runs, schedules, setting_aside
from gateway.store.sql.transaction import Transaction

#: runs, deliveries or schedules that one transaction changes
MAX_RECOVERED_ROWS = 200
#: why a generation ended that was open in the backup
_GENERATION_END = "the database was restored from a backup"


def end_open_runs(tx: Transaction, why: str) -> int:
    """End some runs that were running or waited for nothing but their turn. Returns their number; 0 at the end."""
    found, readable = run_queries.fetch_runs(
        tx,
        "runs WHERE status IN ('queued', 'running') AND coalesce(run_at, 0) <= ? ORDER BY seq LIMIT ?",
        (tx.now, MAX_RECOVERED_ROWS),
    )
    setting_aside.set_aside_unreadable(tx, found, readable)
    for run in readable:
        runs.move_run(tx, run, Move.CANCEL, outcome=Outcome.INTERRUPTED, error=why)
    return len(found)


def give_up_deliveries(tx: Transaction, why: str) -> int:
    """Give up some deliveries that had not arrived. Returns their number; 0 at the end."""
    rows: list[Any] = tx.execute(
        "SELECT deliveries.seq, deliveries.id, agent, session FROM deliveries JOIN runs ON runs.seq = run"
        " WHERE deliveries.status IN ('pending', 'sending') ORDER BY deliveries.seq LIMIT ?",
        (MAX_RECOVERED_ROWS,),
    ).fetchall()
    for seq, id_, agent, session in rows:
        tx.execute(
            "UPDATE deliveries SET status = ?, error = ?, finished = ? WHERE seq = ?",
            (DeliveryStatus.DEAD, why, tx.now, seq),
        )
        event_log.note_delivery(tx, id_, DeliveryStatus.DEAD, agent, session)
    return len(rows)


def give_up_alerts(tx: Transaction, why: str) -> int:
    """Give up the messages about alerts that had not been sent. Returns their number."""
    return len(
        tx.execute(
            "UPDATE alert_messages SET status = ?, error = ?, finished = ? WHERE status IN (?, ?) RETURNING seq",
            (AlertMessageStatus.DEAD, why, tx.now, AlertMessageStatus.COLLECTING, AlertMessageStatus.PENDING),
        ).fetchall()
    )


def skip_missed_times(tx: Transaction) -> int:
    """Record the due times of some schedules as missed. Returns the number of schedules; 0 at the end."""
    due = schedules.list_due(tx, tx.now, MAX_RECOVERED_ROWS)
    for schedule in due:
        assert schedule.next_at is not None, "it is due"
        try:
            decided = decide_fires(schedule, tx.now)
        except GatewayError as error:  # its zone is no longer known here
            plan = FirePlan(schedule=schedule, refused_times=(schedule.next_at,), error=str(error))
        else:
            plan = FirePlan(
                schedule=schedule,
                missed_times=tuple(sorted({*decided.missed_times, *decided.fire_times})),
                missed_count=decided.missed_count + len(decided.fire_times),
                next_at=decided.next_at,
            )
        firing.fire_schedule(tx, plan)
    return len(due)


def requeue_running(tx: Transaction, why: str) -> int:
    """Queue some runs again that were running. Returns their number; 0 at the end."""
    found, readable = run_queries.fetch_runs(
        tx, f"runs INDEXED BY runs_running WHERE status = '{Status.RUNNING}' LIMIT ?", (MAX_RECOVERED_ROWS,)
    )
    setting_aside.set_aside_unreadable(tx, found, readable)
    for run in readable:
        runs.requeue_run(tx, run.id, run.epoch, why)
    return len(found)


def forget_processes(tx: Transaction) -> None:
    """Forget the processes of the gateway that made the backup: they are not those of this one."""
    deliveries.release_flying(tx, "")
    tx.execute("DELETE FROM processes")
    tx.execute("UPDATE generations SET ended = ?, reason = ? WHERE ended IS NULL", (tx.now, _GENERATION_END))
