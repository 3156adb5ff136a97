"""Schedules and what became of their times (fires)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.run import Outcome, Run, Source, Status
from gateway.domain.schedule import FireOutcome, FireRecord, Schedule, ScheduleSpec
from gateway.errors import Conflict, ScheduleNotFound
from gateway.store.sqlite import event_log, idempotency
from gateway.store.sqlite.database import Reader, Transaction

#: schedules that can be stored
MAX_SCHEDULES = 50_000
#: milliseconds for which fires are kept
FIRE_RETENTION_MS = 30 * 86_400_000

_SELECT_SCHEDULE = (
    "SELECT schedules.seq, schedules.id, schedules.spec, enabled, reason, revision, anchor, next_at, last_at,"
    " last_run, runs.status, failures, missed, schedules.created, schedules.updated"
    " FROM schedules LEFT JOIN runs ON runs.id = last_run"
)
_SCHEDULES_WITH_NEXT_TIME = "schedules INDEXED BY schedules_due WHERE enabled = 1 AND next_at IS NOT NULL"
_spec = msgspec.json.Decoder(ScheduleSpec).decode
_encode = msgspec.json.Encoder().encode


def _decode_schedule(row: Sequence[Any]) -> Schedule:
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


def create_schedule(tx: Transaction, schedule: Schedule, key: IdempotencyKey | None = None) -> Schedule:
    earlier = idempotency.find_used(tx, key)
    if earlier is not None:
        return get_schedule(tx, earlier)
    if _find_schedule(tx, schedule.id) is not None:
        raise Conflict(f"there is a schedule {schedule.id!r} already.")
    number: Any = tx.execute("SELECT count(*) FROM schedules").get
    if number >= MAX_SCHEDULES:
        raise Conflict(f"there are {MAX_SCHEDULES} schedules already.", remedy="Delete one that you do not need.")
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
    idempotency.save_key(tx, key, schedule.id)
    note_change(tx, schedule, "created")
    return get_schedule(tx, schedule.id)


def replace_schedule(tx: Transaction, schedule: Schedule) -> Schedule | None:
    """Store an edited schedule. Returns None if another edit came first."""
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
        get_schedule(tx, schedule.id)
        return None
    note_change(tx, schedule, "edited")
    return get_schedule(tx, schedule.id)


def delete_schedule(tx: Transaction, schedule_id: str) -> None:
    found = get_schedule(tx, schedule_id)
    tx.execute("DELETE FROM schedules WHERE id = ?", (found.id,))
    note_change(tx, found, "deleted")


# --- fires ------------------------------------------------------------------------------------


def record_run_end(tx: Transaction, run: Run) -> None:
    """Count a run's end for its schedule: a failure, or a success that resets the failures."""
    if run.spec.source is not Source.CRON or run.status is Status.CANCELLED or run.outcome is Outcome.OVER_BUDGET:
        return
    row = tx.execute("SELECT schedule FROM fires INDEXED BY fires_run WHERE run = ?", (run.id,)).fetchone()
    if row is None:
        return
    if run.status is Status.FAILED:
        count_failure(tx, str(row[0]), run.error or "")
    else:
        tx.execute("UPDATE schedules SET failures = 0 WHERE id = ?", (row[0],))


def count_failure(tx: Transaction, schedule_id: str, error: str) -> bool:
    """Count one more failure in a row. Returns whether it has disabled the schedule."""
    tx.execute("UPDATE schedules SET failures = failures + 1 WHERE id = ?", (schedule_id,))
    found = get_schedule(tx, schedule_id)
    if not found.enabled or not 0 < found.spec.max_failures <= found.failures:
        return False
    reason = f"it failed {found.failures} times in a row; last: {error}"[:500]
    tx.execute("UPDATE schedules SET enabled = 0, reason = ? WHERE id = ?", (reason, schedule_id))
    note_change(tx, found, "disabled")
    return True


def record_fire(tx: Transaction, schedule_id: str, time: int, outcome: FireOutcome, error: str | None = None) -> bool:
    tx.execute(
        "INSERT INTO fires (schedule, scheduled_for, at, outcome, error) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (schedule_id, time, tx.now, outcome, error),
    )
    return tx.changes_made() > 0


def refuse_fire(tx: Transaction, schedule_id: str, time: int, error: str) -> None:
    tx.execute(
        "UPDATE fires SET outcome = ?, error = ? WHERE schedule = ? AND scheduled_for = ?",
        (FireOutcome.REFUSED, error, schedule_id, time),
    )


def record_start(tx: Transaction, schedule_id: str, time: int, run: Run) -> None:
    tx.execute("UPDATE fires SET run = ? WHERE schedule = ? AND scheduled_for = ?", (run.id, schedule_id, time))
    tx.execute("UPDATE schedules SET last_at = ?, last_run = ? WHERE id = ?", (tx.now, run.id, schedule_id))


def note_change(tx: Transaction, schedule: Schedule, state: str) -> None:
    event_log.note_schedule(tx, schedule.id, state, schedule.spec.agent or "")


def prune_fires(tx: Transaction) -> None:
    tx.execute("DELETE FROM fires INDEXED BY fires_at WHERE at < ?", (tx.now - FIRE_RETENTION_MS,))


# --- reading ----------------------------------------------------------------------------------


def _find_schedule(reader: Reader, schedule_id: str) -> Schedule | None:
    row = reader.execute(f"{_SELECT_SCHEDULE} WHERE schedules.id = ?", (schedule_id,)).fetchone()
    return _decode_schedule(row) if row else None


def get_schedule(reader: Reader, schedule_id: str) -> Schedule:
    """Return a schedule by its id.

    Raises:
        ScheduleNotFound: there is none.
    """
    found = _find_schedule(reader, schedule_id)
    if found is None:
        raise ScheduleNotFound(f"there is no schedule {schedule_id[:64]!r}.")
    return found


def list_schedules(reader: Reader, page: Page) -> list[Schedule]:
    before = page.before if page.before is not None else 1 << 62
    rows = reader.execute(
        f"{_SELECT_SCHEDULE} WHERE schedules.seq < ? ORDER BY schedules.seq DESC LIMIT ?", (before, page.limit)
    )
    return [_decode_schedule(row) for row in rows]


def list_budgeted(reader: Reader, limit: int) -> list[Schedule]:
    rows = reader.execute(
        f"{_SELECT_SCHEDULE} WHERE json_extract(schedules.spec, '$.budget') IS NOT NULL"
        " ORDER BY schedules.seq DESC LIMIT ?",
        (limit,),
    )
    return [_decode_schedule(row) for row in rows]


def list_due(reader: Reader, now: int, limit: int) -> list[Schedule]:
    """Return enabled schedules whose next time has come, the longest due first."""
    rows = reader.execute(
        f"{_SELECT_SCHEDULE} WHERE schedules.seq IN"
        f" (SELECT seq FROM {_SCHEDULES_WITH_NEXT_TIME} AND next_at <= ? ORDER BY next_at LIMIT ?) ORDER BY next_at",
        (now, limit),
    )
    return [_decode_schedule(row) for row in rows]


def next_fire_at(reader: Reader) -> int | None:
    found: Any = reader.execute(f"SELECT min(next_at) FROM {_SCHEDULES_WITH_NEXT_TIME}").get
    return found  # type: ignore[no-any-return]


def list_fires(reader: Reader, schedule_id: str, page: Page) -> list[FireRecord]:
    before = page.before if page.before is not None else 1 << 62
    rows = reader.execute(
        "SELECT scheduled_for, at, fires.outcome, run, runs.status, fires.error"
        " FROM fires LEFT JOIN runs ON runs.id = fires.run"
        " WHERE schedule = ? AND scheduled_for < ? ORDER BY scheduled_for DESC LIMIT ?",
        (schedule_id, before, page.limit),
    )
    return [
        FireRecord(scheduled_for=time, at=at, outcome=FireOutcome(outcome), run=run, status=status, error=error)
        for time, at, outcome, run, status, error in rows
    ]
