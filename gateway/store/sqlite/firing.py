"""Firing a schedule: the fire, its run and the schedule's next time are written in one transaction."""

from __future__ import annotations

from gateway.domain.agent import SessionMode
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.run import Accepted, Run, RunSpec
from gateway.domain.schedule import FireOutcome, Firing
from gateway.store.sqlite import runs, schedules
from gateway.store.sqlite.database import Transaction


def fire_schedule(tx: Transaction, firing: Firing) -> list[Run]:
    """Do what was planned, unless the schedule is another by now or that was done already."""
    schedule = firing.schedule
    over = firing.next_at is None
    tx.execute(
        "UPDATE schedules SET next_at = ?, missed = missed + ?, enabled = ?, reason = ?"
        " WHERE id = ? AND revision = ? AND next_at = ? AND enabled = 1",
        (
            firing.next_at,
            firing.count,
            int(not over),
            (firing.error or "its time has passed") if over else None,
            schedule.id,
            schedule.revision,
            schedule.next_at,
        ),
    )
    if not tx.changes_made():
        return []
    for time in firing.missed:
        schedules.record_fire(tx, schedule.id, time, FireOutcome.MISSED)
    for time in firing.refused:
        if schedules.record_fire(tx, schedule.id, time, FireOutcome.REFUSED, error=firing.error):
            schedules.count_failure(tx, schedule.id, firing.error or "")
    made = []
    for time, spec in firing.runs:
        if schedules.record_fire(tx, schedule.id, time, FireOutcome.FIRED):
            run = runs.accept_run(tx, spec, None, SessionMode.QUEUE, None).run
            schedules.record_start(tx, schedule.id, time, run)
            made.append(run)
    schedules.note_change(tx, schedule, "fired" if made else "missed")
    return made


def trigger_schedule(tx: Transaction, schedule_id: str, spec: RunSpec, key: IdempotencyKey | None = None) -> Accepted:
    found = schedules.get_schedule(tx, schedule_id)
    accepted = runs.accept_run(tx, spec, key, SessionMode.QUEUE, None)
    if accepted.fresh:
        time = tx.now
        # Never a whole second: those belong to the schedule's own times.
        while time % 1000 == 0 or not schedules.record_fire(tx, found.id, time, FireOutcome.TRIGGERED):
            time += 1
        schedules.record_start(tx, found.id, time, accepted.run)
        schedules.note_change(tx, found, "triggered")
    return accepted
