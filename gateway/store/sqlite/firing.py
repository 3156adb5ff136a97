"""Firing a schedule: the fire, its run and the schedule's next time are written in one transaction."""

from __future__ import annotations

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.queue import AdmissionRules
from gateway.domain.run import AcceptedRun, RunSpec
from gateway.domain.schedule import FireOutcome, FirePlan
from gateway.errors import AgentBusy, AgentDisabled, AgentNotFound
from gateway.store.sqlite import runs, schedules
from gateway.store.sqlite.database import Transaction


def fire_schedule(tx: Transaction, plan: FirePlan) -> list[AcceptedRun]:
    """Carry out a plan, unless the schedule has changed since it was made, or another process has carried it out."""
    schedule = plan.schedule
    over = plan.next_at is None
    tx.execute(
        "UPDATE schedules SET next_at = ?, missed = missed + ?, enabled = ?, reason = ?, revision = revision + ?"
        " WHERE id = ? AND revision = ? AND next_at = ? AND enabled = 1",
        (
            plan.next_at,
            plan.missed_count,
            int(not over),
            (plan.error or "its time has passed") if over else None,
            int(over),  # an edit that was based on the enabled schedule is made again
            schedule.id,
            schedule.revision,
            schedule.next_at,
        ),
    )
    if not tx.changes_made():
        return []
    for time in plan.missed_times:
        schedules.record_fire(tx, schedule.id, time, FireOutcome.MISSED)
    for time in plan.refused_times:
        is_new = schedules.record_fire(tx, schedule.id, time, FireOutcome.REFUSED, error=plan.error)
        if is_new and schedules.count_failure(tx, schedule.id, plan.error or ""):
            break  # the schedule is disabled now: its other times do not count
    started = []
    for planned in plan.runs:
        if schedules.record_fire(tx, schedule.id, planned.time, FireOutcome.FIRED):
            try:
                accepted = runs.accept_run(tx, planned.spec, None, planned.admission)
            except (AgentNotFound, AgentDisabled, AgentBusy) as error:  # raised before anything was written
                schedules.refuse_fire(tx, schedule.id, planned.time, str(error))
                if schedules.count_failure(tx, schedule.id, str(error)):
                    break
            else:
                schedules.record_start(tx, schedule.id, planned.time, accepted.run)
                started.append(accepted)
    schedules.note_change(tx, schedule, "fired" if started else "missed")
    return started


def trigger_schedule(
    tx: Transaction,
    schedule_id: str,
    spec: RunSpec,
    key: IdempotencyKey | None = None,
    admission: AdmissionRules | None = None,
) -> AcceptedRun:
    found = schedules.get_schedule(tx, schedule_id)
    accepted = runs.accept_run(tx, spec, key, admission)
    if accepted.is_new:
        time = tx.now
        # Not a whole second: the schedule's own times are whole seconds.
        while time % 1000 == 0 or not schedules.record_fire(tx, found.id, time, FireOutcome.TRIGGERED):
            time += 1
        schedules.record_start(tx, found.id, time, accepted.run)
        schedules.note_change(tx, found, "triggered")
    return accepted
