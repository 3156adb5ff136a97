"""Alerts: open conditions, and the messages to receivers that tell of them.

One process writes: each update is based on the revision that it has read, and is refused if there is a newer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.domain.alert import (
    ALERT_RATE_MILLISECONDS,
    MAX_OPEN_ALERTS,
    AlertContent,
    AlertKind,
    AlertMessage,
    AlertMessageStatus,
    AlertState,
    AlertUpdate,
    OpenAlert,
)
from gateway.domain.event import Change
from gateway.domain.schedule import FireOutcome, FireRecord, MissedFires
from gateway.store.sql.pieces import delete_some
from gateway.store.sql.transaction import Reader, Transaction

#: messages that are kept after they were sent or given up
MAX_ALERT_MESSAGES_KEPT = 500
#: messages that wait and are read at once; a receiver has few
MAX_WAITING_ALERT_MESSAGES = 1000

_MESSAGE_COLUMNS = "id, receiver, status, content, attempt, next_at, error, created, released, finished"
_WAITING = f"status IN ('{AlertMessageStatus.COLLECTING}', '{AlertMessageStatus.PENDING}')"
_TROUBLE = (
    "(topic = 'run' AND state = 'failed' OR topic = 'delivery' AND state = 'dead'"
    " OR topic = 'schedule' AND state IN ('fired', 'missed', 'skipped'))"
)


def _encode_content(content: AlertContent) -> str:
    return msgspec.json.encode(content).decode()


def _decode_content(text: str) -> AlertContent:
    """Return a stored content. What cannot be read is an empty one: an alert about it would not help."""
    try:
        return msgspec.json.decode(text, type=AlertContent)
    except (msgspec.MsgspecError, UnicodeError):
        return AlertContent()


def _decode_message(row: Sequence[Any]) -> AlertMessage:
    id_, receiver, status, content, attempt, next_at, error, created, released, finished = row
    return AlertMessage(
        id=id_,
        receiver=receiver,
        status=AlertMessageStatus(status),
        content=_decode_content(content),
        attempt=attempt,
        next_at=next_at,
        error=error,
        created=created,
        released=released,
        finished=finished,
    )


def read_state(reader: Reader) -> AlertState:
    feed: Any = reader.execute("SELECT position, revision FROM alert_feed WHERE id = 1").fetchone()
    position, revision = feed if feed is not None else (None, 0)
    waiting = reader.execute(
        f"SELECT {_MESSAGE_COLUMNS} FROM alert_messages INDEXED BY alert_messages_waiting WHERE {_WAITING}"
        f" ORDER BY seq LIMIT {MAX_WAITING_ALERT_MESSAGES}"
    )
    released: dict[str, list[int]] = {}
    rows: Iterable[Any] = reader.execute(
        "SELECT receiver, released FROM alert_messages WHERE released > ? AND released <= ? ORDER BY released",
        (reader.now - ALERT_RATE_MILLISECONDS, reader.now),
    )
    for receiver, at in rows:
        released.setdefault(receiver, []).append(at)
    return AlertState(
        position=position,
        revision=revision,
        open=list_open(reader),
        waiting=[_decode_message(row) for row in waiting],
        released=released,
    )


def save_update(tx: Transaction, update: AlertUpdate) -> bool:
    tx.execute(
        "INSERT INTO alert_feed (id, position, revision) VALUES (1, ?1, ?2 + 1)"
        " ON CONFLICT (id) DO UPDATE SET position = excluded.position, revision = excluded.revision"
        " WHERE alert_feed.revision = ?2",
        (update.position, update.revision),
    )
    if not tx.changes_made():
        return False
    for kind, subject in update.closed:
        tx.execute("DELETE FROM open_alerts WHERE kind = ? AND subject = ?", (kind, subject))
    for one in update.opened:
        tx.execute(
            "INSERT INTO open_alerts (kind, subject, text, level, agent, opened, told) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, subject) DO UPDATE SET text = excluded.text, level = excluded.level,"
            " agent = excluded.agent, opened = excluded.opened, told = excluded.told",
            (one.kind, one.subject, one.text, one.level, one.agent, one.opened, one.told),
        )
    for message in update.messages:
        _save_message(tx, message)
    return True


def _save_message(tx: Transaction, message: AlertMessage) -> None:
    tx.execute(
        f"INSERT INTO alert_messages ({_MESSAGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET status = excluded.status, content = excluded.content,"
        " attempt = excluded.attempt, next_at = excluded.next_at, error = excluded.error,"
        " released = excluded.released, finished = excluded.finished",
        (
            message.id,
            message.receiver,
            message.status,
            _encode_content(message.content),
            message.attempt,
            message.next_at,
            message.error,
            message.created,
            message.released,
            message.finished,
        ),
    )


def record_send(tx: Transaction, message: AlertMessage) -> bool:
    tx.execute(
        "UPDATE alert_messages SET status = ?, attempt = ?, next_at = ?, error = ?, finished = ?"
        f" WHERE id = ? AND status = '{AlertMessageStatus.PENDING}'",
        (message.status, message.attempt, message.next_at, message.error, message.finished, message.id),
    )
    return tx.changes_made() > 0


def list_open(reader: Reader) -> list[OpenAlert]:
    rows = reader.execute(
        "SELECT kind, subject, text, level, agent, opened, told FROM open_alerts ORDER BY opened, kind, subject"
        f" LIMIT {MAX_OPEN_ALERTS * len(AlertKind)}"
    )
    found: list[Any] = rows.fetchall()
    return [
        OpenAlert(kind=kind, subject=subject, text=text, level=level, agent=agent, opened=opened, told=told)
        for kind, subject, text, level, agent, opened, told in found
    ]


def list_messages(reader: Reader, limit: int) -> list[AlertMessage]:
    rows = reader.execute(f"SELECT {_MESSAGE_COLUMNS} FROM alert_messages ORDER BY seq DESC LIMIT ?", (limit,))
    return [_decode_message(row) for row in rows]


def read_trouble_after(reader: Reader, position: int, until: int, limit: int) -> list[Change]:
    rows: Iterable[Any] = reader.execute(
        "SELECT seq, topic, ref, state, agent, session, at FROM changes"
        f" WHERE seq > ? AND seq <= ? AND {_TROUBLE} ORDER BY seq LIMIT ?",
        (position, until, limit),
    )
    return [
        Change(seq=seq, topic=topic, ref=ref, state=state, agent=agent, session=session, at=at)
        for seq, topic, ref, state, agent, session, at in rows
    ]


def list_missed_fires(reader: Reader, since: int, until: int, limit: int) -> list[MissedFires]:
    rows: Iterable[Any] = reader.execute(
        "SELECT schedule, scheduled_for, at, outcome, error, total FROM (SELECT fires.*,"
        " count(*) OVER (PARTITION BY schedule) AS total,"
        " row_number() OVER (PARTITION BY schedule ORDER BY at DESC, scheduled_for DESC) AS place"
        " FROM fires INDEXED BY fires_at"
        f" WHERE at >= ? AND at <= ? AND outcome IN ('{FireOutcome.MISSED}', '{FireOutcome.REFUSED}')) AS missed"
        " WHERE place = 1 ORDER BY at, schedule LIMIT ?",
        (since, until, limit),
    )
    return [
        MissedFires(
            schedule, FireRecord(scheduled_for=scheduled_for, at=at, outcome=FireOutcome(outcome), error=error), total
        )
        for schedule, scheduled_for, at, outcome, error, total in rows
    ]


def prune_messages(tx: Transaction) -> bool:
    """Delete some of the messages that have ended and are not among the newest. Returns whether there may be more.

    Those of the last hour stay: they count for what a receiver gets in an hour.
    """
    return delete_some(
        tx,
        f"DELETE FROM alert_messages WHERE seq IN (SELECT seq FROM alert_messages WHERE NOT ({_WAITING})"
        " AND seq <= (SELECT max(seq) FROM alert_messages) - :kept AND (released IS NULL OR released < :hour)"
        " ORDER BY seq LIMIT :rows)",
        {"kept": MAX_ALERT_MESSAGES_KEPT, "hour": tx.now - ALERT_RATE_MILLISECONDS},
    )
