"""Stores what another system did: runs that have ended or are held, and sessions with their transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.domain import ids
from gateway.domain.event import AnyEventData, End
from gateway.domain.event import Status as StatusEvent
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.run import Run, Status
from gateway.domain.session import Message, SessionKey
from gateway.errors import Unavailable
from gateway.store.sql import end_counts, event_log, idempotency, notes, run_queries, sessions, tally
from gateway.store.sql.transaction import Transaction

encode_json = msgspec.json.Encoder().encode


def import_run(tx: Transaction, run: Run, key: IdempotencyKey, *, dry_run: bool = False) -> Run | None:
    assert run.status.is_final or run.status is Status.HELD, "an imported run never runs by itself"
    earlier = _find_imported(tx, run.id, key)
    if earlier is not None or dry_run:
        return earlier
    if run.status is Status.HELD:
        if tally.count_runs(tx, Status.QUEUED, Status.HELD) >= tx.queue_limit:
            raise Unavailable(f"{tx.queue_limit} runs are waiting already.", remedy="Try again when some are done.")
        sessions.touch_session(tx, run.spec.session)
    # The id tells the time of the import: ids of later rows are higher, and the filter `since` counts on it.
    stored = msgspec.structs.replace(run, id=ids.make_ulid(tx.now), last_event=1)
    seq = tx.insert(
        "INSERT INTO runs (id, session, agent, source, spec, status, outcome, priority, last_event, result, error,"
        " created, started, finished, parent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
        (
            stored.id,
            stored.spec.session,
            stored.spec.agent,
            stored.spec.source,
            encode_json(stored.spec).decode(),
            stored.status,
            stored.outcome,
            stored.spec.priority,
            stored.result,
            stored.error,
            stored.created,
            stored.started,
            stored.finished,
            stored.spec.parent,
        ),
    )
    for name, value in stored.spec.labels.items():
        tx.execute("INSERT INTO labels (name, value, run) VALUES (?, ?, ?)", (name, value, seq))
    tally.move_count(tx, stored.spec, stored.status)
    if stored.finished is not None:
        end_counts.count_end(tx, stored.status, stored.finished)
    event_log.append_events(tx, seq, stored.id, 0, [_first_event(stored)])
    event_log.note_run(tx, stored)
    idempotency.save_key(tx, key, stored.id)
    return None


def _find_imported(tx: Transaction, identifier: str, key: IdempotencyKey) -> Run | None:
    """Return the run that was imported earlier, or that has this id because it was exported from here."""
    for name in (idempotency.find_used(tx, key), identifier):
        if name is not None and tx.execute("SELECT 1 FROM runs WHERE id = ?", (name,)).fetchone() is not None:
            return run_queries.get_run(tx, name)
    return None


def _first_event(run: Run) -> AnyEventData:
    if run.outcome is None:
        return StatusEvent(status=run.status)
    return End(status=run.status, outcome=run.outcome, result=run.result, error=run.error)


def import_session(
    tx: Transaction,
    session: SessionKey,
    saved: Mapping[str, str],
    messages: Sequence[Message],
    *,
    dry_run: bool = False,
) -> bool:
    key = str(session)
    there = any(notes.get_note(tx, session.channel, name) is not None for name in saved)
    if there or sessions.find_session(tx, key) is not None:
        return False
    if not dry_run:
        sessions.touch_session(tx, key)
        notes.save_notes(tx, session.channel, saved)
        sessions.write_messages(tx, key, messages)
    return True
