"""Firing a schedule: the fire, its run and the schedule's next time are written in one transaction."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.queue import AdmissionRules
from gateway.domain.run import AcceptedRun, RunSpec, Status
from gateway.domain.schedule import FireOutcome, FirePlan, Overlap, PlannedRun, Schedule, explain_skip
from gateway.errors import AgentBusy, AgentDisabled, AgentNotFound, FileUnknown
from gateway.store.sql import runs, schedules
from gateway.store.sql.transaction import Transaction

#: the runs of a schedule's times that have not ended, without those that somebody asked for. INDEXED BY, because a
#: missing index shall be an error, not a slow gateway
_OPEN_RUNS_OF_SCHEDULE = (
    "runs INDEXED BY runs_of_schedule WHERE source = 'cron' AND status IN ('queued', 'running')"
    " AND iif(json_valid(spec), json_extract(spec, '$.labels.schedule'), NULL) = ?"
    " AND EXISTS (SELECT 1 FROM fires INDEXED BY fires_run WHERE run = runs.id AND outcome = 'fired')"
)


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
    state = "missed"
    for planned in plan.runs:
        if not schedules.record_fire(tx, schedule.id, planned.time, FireOutcome.FIRED):
            continue
        try:
            accepted = _start_run(tx, schedule, planned)
        except (AgentNotFound, AgentDisabled, AgentBusy, FileUnknown) as error:  # raised before anything was written
            schedules.refuse_fire(tx, schedule.id, planned.time, str(error))
            if schedules.count_failure(tx, schedule.id, str(error)):
                break
        else:
            started += accepted
            state = "skipped"
    schedules.note_change(tx, schedule, "fired" if started else state)
    return started


def _start_run(tx: Transaction, schedule: Schedule, planned: PlannedRun) -> list[AcceptedRun]:
    """Start the run of a time. Returns nothing if the time is skipped because of earlier runs of the schedule."""
    policy = schedule.spec.overlap_policy
    earlier = list(tx.execute(f"SELECT id, status FROM {_OPEN_RUNS_OF_SCHEDULE} ORDER BY seq DESC", (schedule.id,)))
    running = sum(status == Status.RUNNING for _, status in earlier)
    why = explain_skip(policy, len(earlier) - running, running)
    if why is not None:
        schedules.record_skip(tx, schedule.id, planned.time, why)
        return []
    accepted = runs.accept_run(tx, planned.spec, None, planned.admission)
    schedules.record_start(tx, schedule.id, planned.time, accepted.run)
    return [_cancel_runs(tx, [str(run) for run, _ in earlier], accepted) if policy is Overlap.REPLACE else accepted]


def _cancel_runs(tx: Transaction, run_ids: Iterable[str], accepted: AcceptedRun) -> AcceptedRun:
    """Cancel runs in favour of another one. Returns that one, with the running ones, which were asked to stop."""
    asked = [runs.cancel_run(tx, run_id) for run_id in run_ids]
    stopping = {*accepted.interrupted_runs, *(run.id for run in asked if run.status is Status.RUNNING)}
    return msgspec.structs.replace(accepted, interrupted_runs=tuple(stopping))


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
