"""Schedules and what became of their times (fires)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.run import Outcome, Run, Source, Status
from gateway.domain.schedule import MAX_LISTED_SKIPS, FireOutcome, FireRecord, Schedule, ScheduleFires, ScheduleSpec
from gateway.domain.unreadable import RowKind
from gateway.errors import Conflict, ScheduleNotFound, Unreadable
from gateway.store.sql import event_log, files, idempotency
from gateway.store.sql.bounded import LimitedRows
from gateway.store.sql.pieces import delete_some
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows, fetch_row

#: schedules that can be stored
MAX_SCHEDULES = 50_000
#: milliseconds for which fires are kept
FIRE_RETENTION_MS = 30 * 86_400_000
#: bytes that a fire has at least where it is shown
FIRE_BYTES = 180

_SELECT_SCHEDULE = (
    "SELECT schedules.seq, schedules.id, CAST(schedules.spec AS BLOB), enabled, reason, revision, anchor, next_at,"
    " last_at, last_run, runs.status, failures, missed, schedules.created, schedules.updated, skipped, skip_reason"
    " FROM schedules LEFT JOIN runs ON runs.id = last_run"
)
_SCHEDULES_WITH_NEXT_TIME = "schedules INDEXED BY schedules_due WHERE enabled = 1 AND next_at IS NOT NULL"
_spec = msgspec.json.Decoder(ScheduleSpec).decode
_encode = msgspec.json.Encoder().encode


def _decode_schedule(row: Sequence[Any]) -> Schedule:
    seq, id_, spec, enabled, reason, revision, anchor, next_at, last_at, last_run, last_status, *rest = row
    failures, missed, created, updated, skipped, skip_reason = rest
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
        skipped=skipped,
        skip_reason=skip_reason,
        created=created,
        updated=updated,
    )


# --- changing ---------------------------------------------------------------------------------


def create_schedule(
    tx: Transaction, schedule: Schedule, key: IdempotencyKey | None = None, staged: Sequence[StagedFile] = ()
) -> Schedule:
    earlier = idempotency.find_used(tx, key)
    if earlier is not None and _is_stored(tx, earlier):  # else it was deleted: the same request creates it again
        return get_schedule(tx, earlier)
    if _is_stored(tx, schedule.id):
        raise Conflict(f"there is a schedule {schedule.id!r} already.")
    number: Any = tx.execute("SELECT count(*) FROM schedules").get
    if number >= MAX_SCHEDULES:
        raise Conflict(f"there are {MAX_SCHEDULES} schedules already.", remedy="Delete one that you do not need.")
    files.check_stored(tx, schedule.spec.attachments, staged)
    files.store_staged(tx, staged)
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
    files.use_files(tx, schedule.spec.attachments, schedule=schedule.id)
    idempotency.save_key(tx, key, schedule.id)
    note_change(tx, schedule, "created")
    return get_schedule(tx, schedule.id)


def replace_schedule(tx: Transaction, schedule: Schedule, staged: Sequence[StagedFile] = ()) -> Schedule | None:
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
    files.release_schedule_files(tx, schedule.id)
    files.check_stored(tx, schedule.spec.attachments, staged)
    files.store_staged(tx, staged)
    files.use_files(tx, schedule.spec.attachments, schedule=schedule.id)
    note_change(tx, schedule, "edited")
    return get_schedule(tx, schedule.id)


def delete_schedule(tx: Transaction, schedule_id: str) -> None:
    """Delete a schedule, even one that cannot be read.

    Raises:
        ScheduleNotFound: there is none.
    """
    if not _is_stored(tx, schedule_id):
        raise _not_found(schedule_id)
    try:
        agent = get_schedule(tx, schedule_id).spec.agent or ""
    except Unreadable:
        agent = ""
    tx.execute("DELETE FROM schedules WHERE id = ?", (schedule_id,))
    tx.unreadable.forget_row(RowKind.SCHEDULE, (schedule_id,))
    event_log.note_schedule(tx, schedule_id, "deleted", agent)


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
    try:
        found = get_schedule(tx, schedule_id)
    except Unreadable:  # the run's own end is stored all the same
        return False
    if not found.enabled or not 0 < found.spec.max_failures <= found.failures:
        return False
    reason = f"it failed {found.failures} times in a row; last: {error}"[:500]
    # A new revision: an edit that was based on the enabled schedule is made again.
    tx.execute(
        "UPDATE schedules SET enabled = 0, reason = ?, revision = revision + 1 WHERE id = ?", (reason, schedule_id)
    )
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


def record_skip(tx: Transaction, schedule_id: str, time: int, why: str) -> None:
    """Record that a time was skipped. Of many that follow each other, the first and the newest ones are listed."""
    tx.execute(
        "UPDATE fires SET outcome = ?, error = ? WHERE schedule = ? AND scheduled_for = ?",
        (FireOutcome.SKIPPED, why, schedule_id, time),
    )
    tx.execute("UPDATE schedules SET skipped = skipped + 1, skip_reason = ? WHERE id = ?", (why, schedule_id))
    before = tx.execute(
        "SELECT scheduled_for, outcome = ? FROM fires WHERE schedule = ? AND scheduled_for < ?"
        " ORDER BY scheduled_for DESC LIMIT ?",
        (FireOutcome.SKIPPED, schedule_id, time, MAX_LISTED_SKIPS + 1),
    ).fetchall()
    if len(before) > MAX_LISTED_SKIPS and all(is_skip for _, is_skip in before):
        tx.execute("DELETE FROM fires WHERE schedule = ? AND scheduled_for = ?", (schedule_id, before[-2][0]))


def record_start(tx: Transaction, schedule_id: str, time: int, run: Run) -> None:
    tx.execute("UPDATE fires SET run = ? WHERE schedule = ? AND scheduled_for = ?", (run.id, schedule_id, time))
    tx.execute("UPDATE schedules SET last_at = ?, last_run = ? WHERE id = ?", (tx.now, run.id, schedule_id))


def note_change(tx: Transaction, schedule: Schedule, state: str) -> None:
    event_log.note_schedule(tx, schedule.id, state, schedule.spec.agent or "")


def prune_fires(tx: Transaction) -> bool:
    return delete_some(
        tx,
        "DELETE FROM fires WHERE (schedule, scheduled_for) IN (SELECT schedule, scheduled_for FROM fires INDEXED BY"
        " fires_at WHERE at < :before ORDER BY at LIMIT :rows)",
        {"before": tx.now - FIRE_RETENTION_MS},
    )


# --- reading ----------------------------------------------------------------------------------


def _find_schedule(reader: Reader, schedule_id: str) -> Schedule | None:
    rows = reader.execute(f"{_SELECT_SCHEDULE} WHERE schedules.id = ?", (schedule_id,))
    return fetch_row(reader, RowKind.SCHEDULE, rows, _decode_schedule, lambda: (schedule_id,))


def _is_stored(reader: Reader, schedule_id: str) -> bool:
    return bool(reader.execute("SELECT 1 FROM schedules WHERE id = ?", (schedule_id,)).get)


def _not_found(schedule_id: str) -> ScheduleNotFound:
    return ScheduleNotFound(f"there is no schedule {schedule_id[:64]!r}.")


def _decode_schedules(reader: Reader, rows: Iterable[Any]) -> list[Schedule]:
    return decode_rows(reader, RowKind.SCHEDULE, rows, _decode_schedule, lambda row: (row[1],))


def _not_set_aside(reader: Reader) -> tuple[str, str]:
    """Return a condition that leaves out the schedules that were set aside, and its value."""
    aside = json.dumps(reader.unreadable.list_keys(RowKind.SCHEDULE))
    return "schedules.id NOT IN (SELECT value FROM json_each(?))", aside


def get_schedule(reader: Reader, schedule_id: str) -> Schedule:
    """Return a schedule by its id.

    Raises:
        ScheduleNotFound: there is none.
        Unreadable: it cannot be decoded.
    """
    found = _find_schedule(reader, schedule_id)
    if found is None:
        raise _not_found(schedule_id)
    return found


def read_some(reader: Reader, schedule_ids: Sequence[str]) -> dict[str, Schedule | None]:
    wanted = (json.dumps(list(schedule_ids)),)
    among = "schedules.id IN (SELECT value FROM json_each(?))"
    rows: Iterable[Any] = reader.execute(f"SELECT id FROM schedules WHERE {among}", wanted)
    found: dict[str, Schedule | None] = {str(id_): None for (id_,) in rows}
    readable = _decode_schedules(reader, reader.stream(f"{_SELECT_SCHEDULE} WHERE {among}", wanted))
    return found | {schedule.id: schedule for schedule in readable}


def list_schedules(reader: Reader, page: Page) -> list[Schedule]:
    before = page.before if page.before is not None else 1 << 62
    rows = reader.stream(
        f"{_SELECT_SCHEDULE} WHERE schedules.seq < ? ORDER BY schedules.seq DESC LIMIT ?", (before, page.limit)
    )
    return _decode_schedules(reader, LimitedRows(rows, page.max_bytes, lambda row: len(row[2])))


def list_schedule_ids(reader: Reader, label: str, limit: int) -> list[str]:
    """Return the ids of the newest schedules that have a label, oldest first."""
    rows = reader.execute(
        f"SELECT id FROM schedules WHERE {reader.dialect.has_label} ORDER BY seq DESC LIMIT ?",
        (label, limit),
    )
    return [str(identifier) for (identifier,) in rows][::-1]


def check_schedules(reader: Reader) -> None:
    """Find the schedules that cannot be read, before they are due."""
    rows = reader.stream(_SELECT_SCHEDULE)
    # The schedules themselves are not kept: together they may be large.
    decode_rows(reader, RowKind.SCHEDULE, rows, lambda row: bool(_decode_schedule(row)), lambda row: (row[1],))


def list_budgeted(reader: Reader, limit: int) -> list[Schedule]:
    rows = reader.execute(
        f"{_SELECT_SCHEDULE} WHERE iif(json_valid(schedules.spec), json_extract(schedules.spec, '$.budget'), NULL)"
        " IS NOT NULL ORDER BY schedules.seq DESC LIMIT ?",
        (limit,),
    )
    return _decode_schedules(reader, rows)


def list_due(reader: Reader, now: int, limit: int) -> list[Schedule]:
    """Return enabled schedules whose next time has come, the longest due first."""
    readable, aside = _not_set_aside(reader)
    rows = reader.execute(
        f"{_SELECT_SCHEDULE} WHERE schedules.seq IN"
        f" (SELECT seq FROM {_SCHEDULES_WITH_NEXT_TIME} AND next_at <= ? AND {readable}"
        " ORDER BY next_at LIMIT ?) ORDER BY next_at",
        (now, aside, limit),
    )
    return _decode_schedules(reader, rows)


def next_fire_at(reader: Reader) -> int | None:
    readable, aside = _not_set_aside(reader)
    found: Any = reader.execute(
        f"SELECT next_at FROM {_SCHEDULES_WITH_NEXT_TIME} AND {readable} ORDER BY next_at LIMIT 1", (aside,)
    ).get
    return found  # type: ignore[no-any-return]


def list_fires(reader: Reader, schedule_id: str, page: Page) -> list[FireRecord]:
    before = page.before if page.before is not None else 1 << 62
    rows = reader.execute(
        "SELECT scheduled_for, at, fires.outcome, run, runs.status, fires.error"
        " FROM fires LEFT JOIN runs ON runs.id = fires.run"
        " WHERE schedule = ? AND scheduled_for < ? ORDER BY scheduled_for DESC LIMIT ?",
        (schedule_id, before, page.limit),
    )
    return decode_rows(reader, RowKind.FIRE, rows, _decode_fire, lambda row: (schedule_id, row[0]))


def list_last_fires(reader: Reader, page: Page, each: int) -> list[ScheduleFires]:
    """Return the last fires of schedules, the newest schedule first."""
    before = page.before if page.before is not None else 1 << 62
    found: list[Any] = reader.execute(
        "SELECT seq, id FROM schedules WHERE seq < ? ORDER BY seq DESC LIMIT ?", (before, page.limit)
    ).fetchall()
    newest = Page(limit=each)
    jobs = (ScheduleFires(id=id_, seq=seq, fires=tuple(list_fires(reader, id_, newest)[::-1])) for seq, id_ in found)
    return list(LimitedRows(jobs, page.max_bytes, lambda job: sum(map(_estimate_size, job.fires))))


def _estimate_size(fire: FireRecord) -> int:
    """Return about how many bytes a fire has where it is shown."""
    return FIRE_BYTES + len(fire.error or "")


def _decode_fire(row: Sequence[Any]) -> FireRecord:
    time, at, outcome, run, status, error = row
    return FireRecord(scheduled_for=time, at=at, outcome=FireOutcome(outcome), run=run, status=status, error=error)
