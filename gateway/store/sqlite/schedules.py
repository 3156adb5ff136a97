"""Schedules and their fires. A fire, its run and the schedule's next time are one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from gateway.domain.agent import SessionMode
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.run import Accepted, Outcome, Run, RunSpec, Source, Status
from gateway.domain.schedule import Fire, FireOutcome, Firing, Schedule, ScheduleSpec
from gateway.errors import Conflict, JobNotFound
from gateway.store.sqlite import event_log, idempotency
from gateway.store.sqlite.database import Transaction

#: schedules that may be stored
MOST = 50_000
#: milliseconds that fires are kept
KEPT = 30 * 86_400_000

_SELECT = (
    "SELECT schedules.seq, schedules.id, schedules.spec, enabled, reason, revision, anchor, next_at, last_at,"
    " last_run, runs.status, failures, missed, schedules.created, schedules.updated"
    " FROM schedules LEFT JOIN runs ON runs.id = last_run"
)
_DUE = "schedules INDEXED BY schedules_due WHERE enabled = 1 AND next_at IS NOT NULL"
_spec = msgspec.json.Decoder(ScheduleSpec).decode
_encode = msgspec.json.Encoder().encode


def _schedule(row: Sequence[Any]) -> Schedule:
    seq, id_, spec, enabled, reason, revision, anchor, next_at, last_at, last_run, last_status, *rest = row
    failures, missed, created, updated = rest
    return Schedule(
        seq=seq,
        id=id_,
        spec=_spec(spec),
        enabled=bool(enabled),
        reason=reason,
        revision=revision,
        anchor=anchor,
        next_at=next_at,
        last_at=last_at,
        last_run=last_run,
        last_status=last_status,
        failures=failures,
        missed=missed,
        created=created,
        updated=updated,
    )


# --- changing ---------------------------------------------------------------------------------


def create(tx: Transaction, schedule: Schedule, key: IdempotencyKey | None) -> Schedule:
    earlier = idempotency.used(tx, key)
    if earlier is not None:
        return by_id(tx, earlier)
    if _find(tx, schedule.id) is not None:
        raise Conflict(f"there is a schedule {schedule.id!r} already.")
    number: Any = tx.execute("SELECT count(*) FROM schedules").get
    if number >= MOST:
        raise Conflict(f"there are {MOST} schedules already.", remedy="Delete one that is not needed.")
    tx.execute(
        "INSERT INTO schedules (id, spec, enabled, reason, anchor, next_at, created, updated)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            schedule.id,
            _encode(schedule.spec).decode(),
            int(schedule.enabled),
            schedule.reason,
            schedule.anchor,
            schedule.next_at,
            tx.now,
            tx.now,
        ),
    )
    idempotency.remember(tx, key, schedule.id)
    _note(tx, schedule, "created")
    return by_id(tx, schedule.id)


def replace(tx: Transaction, schedule: Schedule) -> Schedule | None:
    """Write an edited schedule; None if it was edited meanwhile."""
    tx.execute(
        "UPDATE schedules SET spec = ?, enabled = ?, reason = ?, anchor = ?, next_at = ?, failures = ?,"
        " revision = revision + 1, updated = ? WHERE id = ? AND revision = ?",
        (
            _encode(schedule.spec).decode(),
            int(schedule.enabled),
            schedule.reason,
            schedule.anchor,
            schedule.next_at,
            schedule.failures,
            tx.now,
            schedule.id,
            schedule.revision,
        ),
    )
    if not tx.changes_made():
        by_id(tx, schedule.id)
        return None
    _note(tx, schedule, "edited")
    return by_id(tx, schedule.id)


def delete(tx: Transaction, schedule_id: str) -> None:
    found = by_id(tx, schedule_id)
    tx.execute("DELETE FROM schedules WHERE id = ?", (found.id,))
    _note(tx, found, "deleted")


# --- firing -----------------------------------------------------------------------------------


def fire(tx: Transaction, firing: Firing, queue_limit: int) -> list[Run]:
    """Do what was planned, unless the schedule is another by now or that was done already."""
    from gateway.store.sqlite import runs  # late: a run's end tells its schedule

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
        _record(tx, schedule.id, time, FireOutcome.MISSED)
    for time in firing.refused:
        if _record(tx, schedule.id, time, FireOutcome.REFUSED, error=firing.error):
            _failed(tx, schedule.id, firing.error or "")
    made = []
    for time, spec in firing.runs:
        if _record(tx, schedule.id, time, FireOutcome.FIRED):
            run = runs.accept(tx, spec, None, SessionMode.QUEUE, None, queue_limit).run
            _begun(tx, schedule.id, time, run)
            made.append(run)
    _note(tx, schedule, "fired" if made else "missed")
    return made


def trigger(tx: Transaction, schedule_id: str, spec: RunSpec, key: IdempotencyKey | None, queue_limit: int) -> Accepted:
    from gateway.store.sqlite import runs  # late: as above

    found = by_id(tx, schedule_id)
    accepted = runs.accept(tx, spec, key, SessionMode.QUEUE, None, queue_limit)
    if accepted.fresh:
        time = tx.now
        # Never a whole second: those belong to the schedule's own times.
        while time % 1000 == 0 or not _record(tx, found.id, time, FireOutcome.TRIGGERED):
            time += 1
        _begun(tx, found.id, time, accepted.run)
        _note(tx, found, "triggered")
    return accepted


def ended(tx: Transaction, run: Run) -> None:
    """Count the end of a run for its schedule, in the transaction that ends it."""
    if run.spec.source is not Source.CRON or run.status is Status.CANCELLED or run.outcome is Outcome.OVER_BUDGET:
        return
    row = tx.execute("SELECT schedule FROM fires INDEXED BY fires_run WHERE run = ?", (run.id,)).fetchone()
    if row is None:
        return
    if run.status is Status.FAILED:
        _failed(tx, str(row[0]), run.error or "")
    else:
        tx.execute("UPDATE schedules SET failures = 0 WHERE id = ?", (row[0],))


def _failed(tx: Transaction, schedule_id: str, error: str) -> None:
    tx.execute("UPDATE schedules SET failures = failures + 1 WHERE id = ?", (schedule_id,))
    found = by_id(tx, schedule_id)
    if found.enabled and 0 < found.spec.max_failures <= found.failures:
        reason = f"it failed {found.failures} times in a row; last: {error}"[:500]
        tx.execute("UPDATE schedules SET enabled = 0, reason = ? WHERE id = ?", (reason, schedule_id))
        _note(tx, found, "disabled")


def _record(tx: Transaction, schedule_id: str, time: int, outcome: FireOutcome, error: str | None = None) -> bool:
    tx.execute(
        "INSERT INTO fires (schedule, scheduled_for, at, outcome, error) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (schedule_id, time, tx.now, outcome, error),
    )
    return tx.changes_made() > 0


def _begun(tx: Transaction, schedule_id: str, time: int, run: Run) -> None:
    tx.execute("UPDATE fires SET run = ? WHERE schedule = ? AND scheduled_for = ?", (run.id, schedule_id, time))
    tx.execute("UPDATE schedules SET last_at = ?, last_run = ? WHERE id = ?", (tx.now, run.id, schedule_id))


def _note(tx: Transaction, schedule: Schedule, state: str) -> None:
    event_log.note_schedule(tx, schedule.id, state, schedule.spec.agent or "")


def prune(tx: Transaction) -> None:
    tx.execute("DELETE FROM fires INDEXED BY fires_at WHERE at < ?", (tx.now - KEPT,))


# --- reading ----------------------------------------------------------------------------------


def _find(reader: Transaction | apsw.Connection, schedule_id: str) -> Schedule | None:
    row = reader.execute(f"{_SELECT} WHERE schedules.id = ?", (schedule_id,)).fetchone()
    return _schedule(row) if row else None


def by_id(reader: Transaction | apsw.Connection, schedule_id: str) -> Schedule:
    """Return a schedule by its id.

    Raises:
        JobNotFound: there is none.
    """
    found = _find(reader, schedule_id)
    if found is None:
        raise JobNotFound(f"there is no schedule {schedule_id[:64]!r}.")
    return found


def listed(connection: apsw.Connection, page: Page) -> list[Schedule]:
    before = page.before if page.before is not None else 1 << 62
    rows = connection.execute(
        f"{_SELECT} WHERE schedules.seq < ? ORDER BY schedules.seq DESC LIMIT ?", (before, page.limit)
    )
    return [_schedule(row) for row in rows]


def budgeted(connection: apsw.Connection, limit: int) -> list[Schedule]:
    rows = connection.execute(
        f"{_SELECT} WHERE json_extract(schedules.spec, '$.budget') IS NOT NULL ORDER BY schedules.seq DESC LIMIT ?",
        (limit,),
    )
    return [_schedule(row) for row in rows]


def due(connection: apsw.Connection, now: int, limit: int) -> list[Schedule]:
    """Return schedules whose time has come, the longest due first."""
    rows = connection.execute(
        f"{_SELECT} WHERE schedules.seq IN (SELECT seq FROM {_DUE} AND next_at <= ? ORDER BY next_at LIMIT ?)"
        " ORDER BY next_at",
        (now, limit),
    )
    return [_schedule(row) for row in rows]


def next_at(connection: apsw.Connection) -> int | None:
    found: Any = connection.execute(f"SELECT min(next_at) FROM {_DUE}").get
    return found  # type: ignore[no-any-return]


def fires(connection: apsw.Connection, schedule_id: str, page: Page) -> list[Fire]:
    before = page.before if page.before is not None else 1 << 62
    rows = connection.execute(
        "SELECT scheduled_for, at, fires.outcome, run, runs.status, fires.error"
        " FROM fires LEFT JOIN runs ON runs.id = fires.run"
        " WHERE schedule = ? AND scheduled_for < ? ORDER BY scheduled_for DESC LIMIT ?",
        (schedule_id, before, page.limit),
    )
    return [
        Fire(scheduled_for=time, at=at, outcome=FireOutcome(outcome), run=run, status=status, error=error)
        for time, at, outcome, run, status, error in rows
    ]
