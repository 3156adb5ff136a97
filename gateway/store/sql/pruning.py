"""Deletes what is old, a little in each transaction, so that accepting never waits long.

A reader finds what is old; the transaction checks again what may have changed since. Never deleted are: runs that
have not ended; runs with an undelivered delivery, dead letters included while they are kept; the parent, and the
run that was retried, of a run that has not ended; runs whose request may be repeated, because its idempotency key is
still valid; and the newest run, because the numbers of later runs go on from it.
"""

from __future__ import annotations

from typing import Any

from gateway.domain.run import FINAL_STATUSES, Status
from gateway.store.sql import event_log, sessions, tally
from gateway.store.sql.pieces import Piece, delete_some
from gateway.store.sql.transaction import Reader, Transaction

#: how many runs or sessions are looked for at once; a transaction deletes as many of them as its time allows
MAX_PRUNED_AT_ONCE = 100

_OPEN_STATUSES = ", ".join(f"'{status}'" for status in Status if status not in FINAL_STATUSES)
_HAS_UNDELIVERED = (
    "EXISTS (SELECT 1 FROM deliveries WHERE deliveries.run = runs.seq AND deliveries.status <> 'delivered')"
)
_SESSION_IS_BUSY = (
    "EXISTS (SELECT 1 FROM runs INDEXED BY runs_lane"
    " WHERE session = sessions.key AND status IN ('queued', 'running'))"
    " OR EXISTS (SELECT 1 FROM runs INDEXED BY runs_held WHERE status = 'held' AND session = sessions.key)"
)


# --- finding ----------------------------------------------------------------------------------


def find_old_logs(reader: Reader, before: int | None, newest: int | None) -> list[int]:
    """Return ended runs whose events are too old or too many, oldest first."""
    ended = "FROM runs INDEXED BY runs_logged WHERE finished IS NOT NULL AND logged = 1"
    upto = -1 if before is None else before
    if newest is not None:
        row = reader.execute(f"SELECT finished {ended} ORDER BY finished DESC LIMIT 1 OFFSET ?", (newest,)).fetchone()
        upto = max(upto, row[0] if row else -1)
    rows = reader.execute(f"SELECT seq {ended} AND finished <= ? ORDER BY finished LIMIT {MAX_PRUNED_AT_ONCE}", (upto,))
    return [seq for (seq,) in rows]


def find_old_runs(reader: Reader, before: int) -> list[int]:
    """Return ended runs that are too old and that nothing refers to, oldest first."""
    needed = (
        f"SELECT iif(json_valid(spec), json_extract(spec, '$.{name}'), NULL) AS id FROM runs INDEXED BY runs_status"
        f" WHERE status IN ({_OPEN_STATUSES})"
        for name in ("parent", "retry_of")
    )
    rows = reader.execute(
        f"WITH needed AS MATERIALIZED ({' UNION '.join(needed)}"
        " UNION SELECT ref FROM idempotency INDEXED BY idempotency_expires WHERE expires > ?)"
        f" SELECT seq FROM runs INDEXED BY runs_finished WHERE finished <= ? AND NOT {_HAS_UNDELIVERED}"
        " AND NOT EXISTS (SELECT 1 FROM needed WHERE needed.id = runs.id)"
        f" AND seq < (SELECT max(seq) FROM runs) ORDER BY finished LIMIT {MAX_PRUNED_AT_ONCE}",
        (reader.now, before),
    )
    return [seq for (seq,) in rows]


def find_old_sessions(reader: Reader, before: int) -> list[str]:
    """Return sessions that were not used since then, oldest first."""
    rows = reader.execute(
        f"SELECT key FROM sessions WHERE updated <= ? AND NOT ({_SESSION_IS_BUSY})"
        f" ORDER BY touched LIMIT {MAX_PRUNED_AT_ONCE}",
        (before,),
    )
    return [key for (key,) in rows]


def find_old_dead_letters(reader: Reader, before: int) -> list[int]:
    """Return dead letters that are too old, oldest first."""
    rows = reader.execute(
        "SELECT seq FROM deliveries INDEXED BY deliveries_dead WHERE status = 'dead' AND finished <= ?"
        f" ORDER BY finished LIMIT {MAX_PRUNED_AT_ONCE}",
        (before,),
    )
    return [seq for (seq,) in rows]


# --- deleting -------------------------------------------------------------------------------


def delete_logs(tx: Transaction, seqs: list[int]) -> list[str]:
    """Delete all events of these runs but the last, as many as fit one piece. Returns the runs that are done."""
    piece, done = Piece(tx), []
    for seq in seqs:
        if event_log.prune_events(tx, seq, piece):
            break
        row = tx.execute("UPDATE runs SET logged = 0 WHERE seq = ? RETURNING id", (seq,)).fetchone()
        done += [str(row[0])] if row else []
        if not piece.may_go_on():
            break
    return done


def delete_runs(tx: Transaction, seqs: list[int]) -> list[str]:
    """Delete these runs, as many as fit one piece. Returns the deleted ones."""
    piece, gone = Piece(tx), []
    for seq in seqs:
        if event_log.prune_events(tx, seq, piece):
            break
        row: Any = tx.execute(
            f"DELETE FROM runs WHERE seq = ? AND NOT {_HAS_UNDELIVERED} RETURNING id, source, status", (seq,)
        ).fetchone()
        if row is not None:
            identifier, source, status = row
            tally.add_to_count(tx, source, status, -1)
            gone.append(identifier)
        if not piece.may_go_on():
            break
    return gone


def delete_dead_letters(tx: Transaction, seqs: list[int], before: int) -> None:
    """Delete these dead letters, as many as fit one piece, except those that were retried since."""
    piece = Piece(tx)
    for seq in seqs:
        tx.execute("DELETE FROM deliveries WHERE seq = ? AND status = 'dead' AND finished <= ?", (seq, before))
        if not piece.may_go_on():
            break


def delete_sessions(tx: Transaction, keys: list[str], before: int) -> None:
    """Delete these sessions, their oldest messages first, as many rows as fit one piece."""
    piece = Piece(tx)
    for key in keys:
        unused = f"SELECT 1 FROM sessions WHERE key = ? AND updated <= ? AND NOT ({_SESSION_IS_BUSY})"
        if tx.execute(unused, (key, before)).fetchone() is None:
            continue
        if delete_some(
            tx,
            "DELETE FROM transcript"
            " WHERE id IN (SELECT id FROM transcript WHERE session = :key ORDER BY n LIMIT :rows)",
            {"key": key},
            piece,
        ):
            break
        sessions.delete_session(tx, key)
        if not piece.may_go_on():
            break
