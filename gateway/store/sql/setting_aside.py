"""What becomes of unreadable rows: an open run leaves its lane, and rows are removed when somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.domain.event import AnyEventData, End, Log
from gateway.domain.run import Run, Status
from gateway.domain.unreadable import RowKind
from gateway.errors import NotFound
from gateway.store.sql import files, tally, workspaces
from gateway.store.sql.lanes import advance_lane
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import where_key

#: the start of a run that was set aside, in milliseconds since 1970 UTC: it never comes
NEVER = 1 << 62
_encode = msgspec.json.Encoder().encode


def set_aside_run(tx: Transaction, seq: int) -> None:
    """Take an open run that cannot be read out of its lane. It stays queued, and the next start looks at it again."""
    row: Any = tx.execute("SELECT status, source, session FROM runs WHERE seq = ?", (seq,)).fetchone()
    status, source, session = row
    tx.execute(
        "UPDATE runs SET status = 'queued', ready = 0, owner = NULL, epoch = epoch + 1, run_at = ? WHERE seq = ?",
        (NEVER, seq),
    )
    tx.is_claim_due |= status == Status.RUNNING
    if status != Status.QUEUED:
        tally.add_to_count(tx, source, status, -1)
        tally.add_to_count(tx, source, Status.QUEUED, 1)
        project: Any = tx.execute("SELECT value FROM labels WHERE name = 'project' AND run = ?", (seq,)).get
        if project is not None:
            tally.move_project_count(tx, project, Status.QUEUED, status)
    advance_lane(tx, session)


def set_aside_unreadable(tx: Transaction, seqs: Iterable[int], readable: Iterable[Run]) -> None:
    """Set aside the open runs that could not be decoded.

    Args:
        seqs: the numbers of all runs.
        readable: the runs that could be decoded.
    """
    known = {run.seq for run in readable}
    for seq in seqs:
        if seq not in known:
            set_aside_run(tx, seq)


def retry_runs(tx: Transaction) -> None:
    """Put the runs that were set aside back into their lanes: this version may be able to read them."""
    sessions = tx.execute(
        "UPDATE runs INDEXED BY runs_due SET run_at = NULL WHERE status = 'queued' AND run_at = ? RETURNING session",
        (NEVER,),
    ).fetchall()
    for (session,) in sessions:
        advance_lane(tx, str(session))


def remove_row(tx: Transaction, kind: RowKind, id_: str) -> None:
    """Delete an unreadable row, with all that belongs to it. An event is replaced by a remark: its number is kept.

    Raises:
        NotFound: no such row is known to be unreadable.
    """
    key = tx.unreadable.find_key(kind, id_)
    if key is None:
        raise NotFound(f"there is no unreadable {kind} {id_[:200]!r}.", remedy="GET /api/unreadable lists them all.")
    if kind is RowKind.TASK:
        _delete_run(tx, key[0])
    elif kind is RowKind.EVENT:
        run, n = key
        data = _encode(replace_event(tx, run, n)).decode()
        tx.execute("UPDATE events SET data = ? WHERE run = ? AND n = ?", (data, run, n))
    elif kind is RowKind.FILE:
        files.remove_file(tx, key[0])
    else:
        tx.execute(f"DELETE FROM {where_key(kind)}", key)
        if kind is RowKind.SESSION:
            workspaces.release_workspace(tx, key[0])
    tx.unreadable.forget_row(kind, key)


def _delete_run(tx: Transaction, run_id: str) -> None:
    row: Any = tx.execute("DELETE FROM runs WHERE id = ? RETURNING session, source, status", (run_id,)).fetchone()
    tx.execute("DELETE FROM idempotency WHERE ref = ?", (run_id,))  # the same request makes a new run
    if row is not None:
        session, source, status = row
        tx.is_claim_due |= status == Status.RUNNING
        tally.add_to_count(tx, source, status, -1)
        advance_lane(tx, str(session))


def replace_event(reader: Reader, run: int, n: int) -> AnyEventData:
    """Return what stands for an event that cannot be read: the run's end if it is that, else a remark.

    Args:
        run: number of the run.
    """
    row: Any = reader.execute(
        "SELECT status, outcome, result, error FROM runs WHERE seq = ? AND last_event = ? AND finished IS NOT NULL",
        (run, n),
    ).fetchone()
    if row is None:
        return Log(level="warning", message="This event cannot be read: a newer version wrote it, or it is damaged.")
    status, outcome, result, error = row
    return End(status=status, outcome=outcome or "", result=result, error=error)
