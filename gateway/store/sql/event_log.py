"""Two logs: the events of each run, and the changes of the whole gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.domain.event import AnyEventData, Change, Event
from gateway.domain.run import Run
from gateway.domain.unreadable import RowKind
from gateway.store.sql import setting_aside
from gateway.store.sql.pieces import Piece, delete_some
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import DECODING_ERRORS

_decode = msgspec.json.Decoder(AnyEventData).decode
_encode = msgspec.json.Encoder().encode


class _NewLines:
    """The lines that a transaction appends to both logs."""

    def __init__(self) -> None:
        self.added = 0
        self._events: list[tuple[int, int, int, str]] = []
        #: topic, ref, state, agent, session
        self._changes: list[tuple[str, str, str, str, str]] = []

    def add_event(self, run: int, n: int, at: int, data: str) -> None:
        self.added += 1
        self._events.append((run, n, at, data))

    def add_change(self, topic: str, ref: str, state: str, agent: str, session: str) -> None:
        self.added += 1
        self._changes.append((topic, ref, state, agent, session))

    def write(self, tx: Transaction) -> None:
        if self._events:
            tx.execute_many("INSERT INTO events (run, n, at, data) VALUES (?, ?, ?, ?)", self._events)
        if self._changes:
            self._write_changes(tx)

    def _write_changes(self, tx: Transaction) -> None:
        before = last_change(tx) if tx.last_change is None else tx.last_change
        tx.last_change = before + len(self._changes)
        numbered = list(enumerate(self._changes, before + 1))
        tx.execute_many(
            "INSERT INTO changes (seq, topic, ref, state, agent, session, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(seq, *change, tx.now) for seq, change in numbered],
        )
        tx.changes += [
            Change(seq=seq, topic=topic, ref=ref, state=state, agent=agent, session=session, at=tx.now)
            for seq, (topic, ref, state, agent, session) in numbered
        ]


def append_events(tx: Transaction, seq: int, run: str, last: int, said: Sequence[AnyEventData]) -> int:
    """Append events to a run's log, numbered from `last` + 1. Returns the new last number."""
    lines = tx.defer(_NewLines)
    for last, data in enumerate(said, last + 1):  # noqa: B020 the last number is what is returned
        lines.add_event(seq, last, tx.now, _encode(data).decode())
        tx.events.append(Event(run=run, number=last, at=tx.now, data=data))
    return last


def note_run(tx: Transaction, run: Run) -> None:
    """Append the change of a run's status."""
    _append_change(tx, "run", run.id, run.status, run.spec.agent, run.spec.session)


def note_session(tx: Transaction, key: str, agent: str, state: str) -> None:
    """Append that a session was created, renamed or deleted."""
    _append_change(tx, "session", key, state, agent, key)


def note_delivery(tx: Transaction, delivery: str, state: str, agent: str, session: str) -> None:
    """Append the change of a delivery's status."""
    _append_change(tx, "delivery", delivery, state, agent, session)


def note_permission(tx: Transaction, run: Run, request: str, state: str) -> None:
    """Append that a permission was requested or answered."""
    _append_change(tx, "permission", f"{run.id}/{request}", state, run.spec.agent, run.spec.session)


def note_agent(tx: Transaction, agent: str, state: str) -> None:
    """Append that an agent was created, edited or deleted."""
    _append_change(tx, "agent", agent, state, agent, "")


def note_schedule(tx: Transaction, schedule: str, state: str, agent: str) -> None:
    """Append that a schedule was created, edited, deleted, fired or triggered."""
    _append_change(tx, "schedule", schedule, state, agent, "")


def note_project(tx: Transaction, project: str, state: str) -> None:
    """Append that a project was created, edited or deleted."""
    _append_change(tx, "project", project, state, "", "")


def _append_change(tx: Transaction, topic: str, ref: str, state: str, agent: str, session: str) -> None:
    tx.defer(_NewLines).add_change(topic, ref, state, agent, session)


def read_events_after(reader: Reader, run_id: str, after: int, limit: int, size: int | None = None) -> list[Event]:
    rows = reader.execute(
        "SELECT run, n, at, CAST(data AS BLOB) FROM events WHERE run = (SELECT seq FROM runs WHERE id = ?) AND n > ?"
        " ORDER BY n LIMIT ?",
        (run_id, after, limit),
    )
    found: list[Event] = []
    room = size if size is not None else 1 << 62
    for seq, n, at, data in rows:
        assert isinstance(seq, int)
        assert isinstance(data, bytes)
        room -= len(data)
        if room < 0 and found:
            rows.close(True)
            break
        found.append(Event(run=run_id, number=n, at=at, data=_decode_data(reader, seq, n, data)))
    return found


def _decode_data(reader: Reader, run: int, n: int, data: bytes) -> AnyEventData:
    """Return the content of an event, or what stands for it if it cannot be read: numbers have no gaps."""
    try:
        decoded: AnyEventData = _decode(data)
    except DECODING_ERRORS as error:
        reader.unreadable.note_row(RowKind.EVENT, (run, n), error)
        return setting_aside.replace_event(reader, run, n)
    return decoded


def read_changes_after(reader: Reader, after: int, limit: int) -> list[Change]:
    rows = reader.execute(
        "SELECT seq, topic, ref, state, agent, session, at FROM changes WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    )
    return [
        Change(seq=seq, topic=topic, ref=ref, state=state, agent=agent, session=session, at=at)
        for seq, topic, ref, state, agent, session, at in rows
    ]


def last_change(reader: Reader) -> int:
    found: Any = reader.execute(reader.dialect.last_change).get
    return found or 0


def prune_changes(tx: Transaction, keep: int) -> bool:
    """Delete some of the changes that are not among the newest. Returns whether there may be more."""
    tx.write_deferred()
    return delete_some(
        tx,
        "DELETE FROM changes WHERE seq IN (SELECT seq FROM changes"
        " WHERE seq <= (SELECT max(seq) FROM changes) - :kept ORDER BY seq LIMIT :rows)",
        {"kept": keep},
    )


def prune_events(tx: Transaction, run: int, piece: Piece) -> bool:
    """Delete a run's events, oldest first, but never the last one. Returns whether there may be more of them."""
    tx.write_deferred()
    return delete_some(
        tx,
        "DELETE FROM events WHERE run = :run AND n IN (SELECT n FROM events WHERE run = :run"
        " AND n < (SELECT last_event FROM runs WHERE seq = :run) ORDER BY n LIMIT :rows)",
        {"run": run},
        piece,
    )
