"""Deliveries: made with the end of a run, taken when they are due, and recorded try by try.

Each receiver has a line. A take asks for the first of each line, so however much waits for one
receiver, finding what waits for another costs the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gateway.domain import ids
from gateway.domain.address_policy import WebhookUse
from gateway.domain.delivery import (
    MAX_KEPT_ATTEMPTS,
    MAX_RETRY_DELAY_SECONDS,
    REFUSED_PREFIX,
    RETRY_JITTER_SHARE,
    WEBHOOK_KIND,
    Delivery,
    DeliveryAttempt,
    DeliveryCounts,
    DeliveryFilter,
    DeliveryStatus,
    StatusCounts,
    Target,
)
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.run import Run
from gateway.domain.unreadable import RowKind
from gateway.errors import Conflict, DeliveryNotFound
from gateway.store.sql import event_log, id_lookup, idempotency
from gateway.store.sql.conditions import Condition, join_conditions
from gateway.store.sql.reach import make_condition
from gateway.store.sql.transaction import Reader, Rows, Transaction
from gateway.store.sql.unreadable import decode_rows, fetch_row

#: deliveries of one status that are counted; of more, it is only said that there are more
MAX_COUNTED_DELIVERIES = 100_000

_SELECT_DELIVERY = (
    "SELECT deliveries.seq, deliveries.id, runs.id, kind, address, format, trusted, deliveries.status,"
    " deliveries.attempt, next_at, deliveries.error, deliveries.created, deliveries.finished"
    " FROM deliveries CROSS JOIN runs ON runs.seq = deliveries.run"
)

#: receivers that deliveries wait for. The recursion visits one after the other and skips the rest of its entries in
#: the index: https://www.sqlite.org/lang_with.html
_RECEIVERS = """
WITH RECURSIVE receivers (name) AS (
    SELECT min(receiver) FROM deliveries INDEXED BY deliveries_line WHERE status = 'pending'
    UNION ALL
    SELECT (SELECT min(receiver) FROM deliveries INDEXED BY deliveries_line
            WHERE status = 'pending' AND receiver > name)
    FROM receivers WHERE name IS NOT NULL
)"""

#: receivers that have something due and room for it. A chat gets one delivery at a time, so that its messages stay in
#: order
_RECEIVERS_WITH_ROOM = f"""{_RECEIVERS}, lines (name, first, room) AS (
    SELECT name,
           (SELECT min(next_at) FROM deliveries INDEXED BY deliveries_line
            WHERE status = 'pending' AND receiver = name),
           iif(name LIKE 'http%://%', ?2, 1) - (SELECT count(*) FROM deliveries INDEXED BY deliveries_sending
                                                WHERE status = 'sending' AND receiver = name)
    FROM receivers WHERE name IS NOT NULL
)
SELECT name, room FROM lines WHERE first <= ?1 AND room > 0 ORDER BY first LIMIT ?3
"""

#: receivers of webhooks that deliveries wait for, with the error of the next one of them
_WEBHOOK_RECEIVERS = f"""{_RECEIVERS}
SELECT address, error FROM receivers JOIN deliveries ON seq = (
    SELECT seq FROM deliveries INDEXED BY deliveries_line
    WHERE status = 'pending' AND receiver = name AND trusted = 0 ORDER BY next_at LIMIT 1)
WHERE kind = '{WEBHOOK_KIND}' ORDER BY name LIMIT ?
"""

#: milliseconds from now within which every waiting delivery is due
_LONGEST_RETRY_DELAY_MS = round(MAX_RETRY_DELAY_SECONDS * (1 + RETRY_JITTER_SHARE) * 1000)

_FIRST_DUE = (
    "SELECT seq FROM deliveries INDEXED BY deliveries_line"
    " WHERE status = 'pending' AND receiver = ? AND next_at <= ? ORDER BY next_at, seq LIMIT ?"
)

#: the number of a delivery's next attempt; in place of `{}` stands the delivery
_NEXT_ATTEMPT = "(SELECT coalesce(max(n), 0) + 1 FROM delivery_attempts WHERE delivery = {})"


def _decode_delivery(row: Sequence[Any]) -> Delivery:
    seq, id_, run, kind, address, format_, trusted, status, attempt, next_at, error, created, finished = row
    return Delivery(
        seq=seq,
        id=id_,
        run=run,
        target=Target(kind=kind, address=address, format=format_, trusted=bool(trusted)),
        status=DeliveryStatus(status),
        attempt=attempt,
        next_at=next_at,
        error=error,
        created=created,
        finished=finished,
    )


def create_deliveries(tx: Transaction, run: Run) -> None:
    """Create a delivery for each target of an ended run."""
    for target in run.spec.deliver:
        made = tx.execute(
            "INSERT INTO deliveries (id, run, kind, address, format, trusted, receiver, status, next_at, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            (
                ids.make_ulid(tx.now),
                run.seq,
                target.kind,
                target.address,
                target.format,
                int(target.trusted),
                target.receiver,
                tx.now,
                tx.now,
            ),
        ).get
        if made is not None:
            event_log.note_delivery(tx, str(made), DeliveryStatus.PENDING, run.spec.agent, run.spec.session)


def take_due(tx: Transaction, limit: int, each: int) -> list[Delivery]:
    """Take up to `limit` due deliveries; at most `each` are in flight to one receiver."""
    # A longer delay means that the clock was set back, maybe by years.
    tx.execute(
        "UPDATE deliveries INDEXED BY deliveries_due SET next_at = ?1 WHERE status = 'pending' AND next_at > ?1 + ?2",
        (tx.now, _LONGEST_RETRY_DELAY_MS),
    )
    taken: list[Any] = []
    lines: list[Any] = tx.execute(_RECEIVERS_WITH_ROOM, (tx.now, each, limit)).fetchall()
    for receiver, room in lines:
        taken += tx.execute(_FIRST_DUE, (receiver, tx.now, min(room, limit - len(taken)))).fetchall()
    for (seq,) in taken:
        tx.execute("UPDATE deliveries SET status = 'sending', attempt = attempt + 1 WHERE seq = ?", (seq,))
    due: list[Delivery] = []
    for (seq,) in taken:
        readable = _decode_deliveries(tx, tx.execute(f"{_SELECT_DELIVERY} WHERE deliveries.seq = ?", (seq,)))
        due += readable
        if not readable:
            _give_up_unreadable(tx, seq)
    return due


def _give_up_unreadable(tx: Transaction, seq: int) -> None:
    """End a delivery that cannot be read: the others to its receiver would wait for it."""
    tx.execute(
        "UPDATE deliveries SET status = ?, error = 'it cannot be read', finished = ? WHERE seq = ?",
        (DeliveryStatus.DEAD, tx.now, seq),
    )
    _note_change(tx, seq, DeliveryStatus.DEAD)


def record_attempt(tx: Transaction, delivery: Delivery, tried: DeliveryAttempt) -> bool:
    """Store how an attempt went, and the delivery as it is after it.

    Returns False, and writes nothing, if a newer attempt has begun.
    """
    tx.execute(
        "UPDATE deliveries SET status = ?, next_at = ?, error = ?, finished = ?"
        " WHERE seq = ? AND status = 'sending' AND attempt = ?",
        (
            delivery.status,
            delivery.next_at,
            delivery.error,
            delivery.finished,
            delivery.seq,
            delivery.attempt,
        ),
    )
    if not tx.changes_made():
        return False
    number: Any = tx.execute(
        f"INSERT INTO delivery_attempts (delivery, n, kind, at, took, http_status, error)"
        f" VALUES (?1, {_NEXT_ATTEMPT.format('?1')}, ?2, ?3, ?4, ?5, ?6) RETURNING n",
        (delivery.seq, delivery.target.kind, tried.at, tried.took, tried.http_status, tried.error),
    ).get
    if number > MAX_KEPT_ATTEMPTS:
        oldest = number - MAX_KEPT_ATTEMPTS
        tx.execute("DELETE FROM delivery_attempts WHERE delivery = ? AND n <= ?", (delivery.seq, oldest))
    _note_change(tx, delivery.seq, delivery.status)
    return True


def release_in_flight(tx: Transaction) -> int:
    """Make due again what was in flight when its process ended. Returns the number.

    What the settings refused is due again, too, and that attempt does not count: the settings may be other ones now.
    """
    tx.execute(
        "UPDATE deliveries INDEXED BY deliveries_due SET next_at = ?1, attempt = max(attempt - 1, 0)"
        f" WHERE status = 'pending' AND next_at > ?1 AND substr(error, 1, {len(REFUSED_PREFIX)}) = '{REFUSED_PREFIX}'",
        (tx.now,),
    )
    return release_flying(tx, tx.dialect.is_abandoned)


def release_flying(tx: Transaction, which: str, values: tuple[object, ...] = ()) -> int:
    """Make due again what is in flight and that nobody sends any more. Returns the number.

    Args:
        which: follows the conditions.
        values: its parameters.
    """
    is_abandoned = f"status = 'sending'{which}"
    tx.execute(
        "INSERT INTO delivery_attempts (delivery, n, kind, at, error)"
        f" SELECT seq, {_NEXT_ATTEMPT.format('seq')}, kind, ?, 'the gateway stopped during this attempt'"
        f" FROM deliveries INDEXED BY deliveries_sending WHERE {is_abandoned}",
        (tx.now, *values),
    )
    tx.execute(
        f"UPDATE deliveries INDEXED BY deliveries_sending SET status = 'pending', next_at = ? WHERE {is_abandoned}",
        (tx.now, *values),
    )
    return tx.changes_made()


def retry_delivery(tx: Transaction, delivery_id: str, key: IdempotencyKey | None = None) -> Delivery:
    """Make a dead or waiting delivery due now, with its full number of attempts.

    Raises:
        DeliveryNotFound: there is none with that id.
        Conflict: it was delivered, or is on its way.
    """
    found = get_delivery(tx, delivery_id)
    if idempotency.find_used(tx, key) is not None:
        return found
    if found.status not in (DeliveryStatus.DEAD, DeliveryStatus.PENDING):
        raise Conflict(f"cannot retry a delivery that is {found.status}.")
    idempotency.save_key(tx, key, found.id)
    tx.execute(
        "UPDATE deliveries SET status = 'pending', attempt = 0, next_at = ?, finished = NULL WHERE seq = ?",
        (tx.now, found.seq),
    )
    _note_change(tx, found.seq, DeliveryStatus.PENDING)
    return _fetch_delivery(tx, "deliveries.seq = ?", found.seq)


def _note_change(tx: Transaction, seq: int, status: DeliveryStatus) -> None:
    row: Any = tx.execute(
        "SELECT deliveries.id, agent, session FROM deliveries JOIN runs ON runs.seq = run WHERE deliveries.seq = ?",
        (seq,),
    ).fetchone()
    id_, agent, session = row
    event_log.note_delivery(tx, id_, status, agent, session)


# --- reading ----------------------------------------------------------------------------------


def _fetch_delivery(reader: Reader, condition: str, value: Any) -> Delivery:
    """Return the delivery that a condition selects.

    Raises:
        Unreadable: it cannot be decoded.
    """
    found = fetch_row(
        reader,
        RowKind.DELIVERY,
        reader.execute(f"{_SELECT_DELIVERY} WHERE {condition}", (value,)),
        _decode_delivery,
        lambda: (reader.execute(f"SELECT id FROM deliveries WHERE {condition}", (value,)).get,),
    )
    assert found is not None
    return found


def _decode_deliveries(reader: Reader, rows: Iterable[Any]) -> list[Delivery]:
    return decode_rows(reader, RowKind.DELIVERY, rows, _decode_delivery, lambda row: (row[1],))


def get_delivery(reader: Reader, delivery_id: str) -> Delivery:
    """Return a delivery by its id, or by a part of it that fits exactly one.

    Raises:
        DeliveryNotFound: none or several fit.
        Unreadable: it cannot be decoded.
    """
    found = id_lookup.find_ids(reader, "deliveries", delivery_id)
    if len(found) != 1:
        raise DeliveryNotFound(id_lookup.describe_misses("delivery", "deliveries", delivery_id, found))
    return _fetch_delivery(reader, "deliveries.id = ?", found[0])


def list_deliveries(reader: Reader, which: DeliveryFilter, page: Page) -> list[Delivery]:
    conditions = _list_conditions(which)
    if page.before is not None:
        conditions.append(Condition("deliveries.seq < ?", (page.before,)))
    where = join_conditions(conditions)
    rows = reader.execute(
        f"{_SELECT_DELIVERY} WHERE {where.text} ORDER BY deliveries.seq DESC LIMIT ?", (*where.values, page.limit)
    )
    return _decode_deliveries(reader, rows)


def count_deliveries(reader: Reader, which: DeliveryFilter) -> StatusCounts:
    """Return how many deliveries match, by their status; of each status, no more are counted than the limit."""
    numbers: dict[DeliveryStatus, int] = {}
    for status in DeliveryStatus:
        where = join_conditions([Condition("deliveries.status = ?", (status,)), *_list_conditions(which)])
        found: Any = reader.execute(
            "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_status WHERE"
            f" {where.text} LIMIT {MAX_COUNTED_DELIVERIES + 1}) AS counted",
            where.values,
        ).get
        numbers[status] = min(found, MAX_COUNTED_DELIVERIES)
    return StatusCounts(numbers=numbers, exact=max(numbers.values()) < MAX_COUNTED_DELIVERIES)


def _list_conditions(which: DeliveryFilter) -> list[Condition]:
    """Return the conditions of a filter, each with its values."""
    conditions: list[Condition] = []
    if which.status is not None:
        conditions.append(Condition("deliveries.status = ?", (which.status,)))
    if which.run is not None:
        conditions.append(Condition("deliveries.run = (SELECT seq FROM runs WHERE id = ?)", (which.run,)))
    if which.kind is not None:
        conditions.append(Condition("deliveries.kind = ?", (which.kind,)))
    if which.text is not None:
        conditions.append(Condition("instr(lower(deliveries.address), lower(?)) > 0", (which.text,)))
    if which.reach is not None:
        reached = make_condition(which.reach, "runs.agent", "runs.session")
        text = f"EXISTS (SELECT 1 FROM runs WHERE runs.seq = deliveries.run AND {reached.text})"
        conditions.append(Condition(text, reached.values))
    return conditions


def list_attempts(reader: Reader, delivery_id: str) -> list[DeliveryAttempt]:
    """Return the newest attempts of a delivery, oldest first."""
    rows = reader.execute(
        "SELECT n, at, took, http_status, CAST(error AS BLOB) FROM delivery_attempts"
        " WHERE delivery = (SELECT seq FROM deliveries WHERE id = ?) ORDER BY n DESC LIMIT ?",
        (delivery_id, MAX_KEPT_ATTEMPTS),
    )
    found = [
        DeliveryAttempt(
            number=n,
            at=at,
            took=took,
            http_status=status,
            error=None if error is None else error.decode("utf-8", "replace"),
        )
        for n, at, took, status, error in rows
    ]
    return found[::-1]


def next_due_at(reader: Reader, now: int) -> int | None:
    found: Any = reader.execute(
        "SELECT min(next_at) FROM deliveries INDEXED BY deliveries_due WHERE status = 'pending' AND next_at > ?", (now,)
    ).get
    return found  # type: ignore[no-any-return]


def list_webhook_uses(reader: Reader, limit: int) -> list[WebhookUse]:
    """Return webhooks of enabled schedules, and receivers of webhooks that deliveries wait for: so many of each."""
    return query_webhook_uses(reader.execute, reader.dialect.scheduled_webhooks, limit)


def query_webhook_uses(execute: Callable[..., Rows], scheduled_webhooks: str, limit: int) -> list[WebhookUse]:
    """Return the same from what runs statements; the first one is that of the database's dialect."""
    scheduled = [
        WebhookUse(schedule=(id_, name), address=address)
        for id_, name, address in execute(scheduled_webhooks, (limit,))
    ]
    waiting = [
        WebhookUse(
            address=Target(kind=WEBHOOK_KIND, address=address).receiver,
            refusal=error.removeprefix(REFUSED_PREFIX) if error and error.startswith(REFUSED_PREFIX) else "",
        )
        for address, error in execute(_WEBHOOK_RECEIVERS, (limit,))
    ]
    return scheduled + waiting


def count_undelivered(reader: Reader) -> DeliveryCounts:
    numbers: list[Any] = [
        reader.execute(f"SELECT count(*) FROM deliveries INDEXED BY {index} WHERE status = '{status}'").get
        for index, status in (
            ("deliveries_due", DeliveryStatus.PENDING),
            ("deliveries_sending", DeliveryStatus.SENDING),
            ("deliveries_status", DeliveryStatus.DEAD),
        )
    ]
    pending, sending, dead = numbers
    return DeliveryCounts(pending=pending + sending, dead=dead)
