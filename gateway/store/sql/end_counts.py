"""How many runs ended, by minute and status, so that no query counts the runs of a day.

A count since some moment adds up minutes, and counts the runs themselves only in the minute in which it begins. Old
minutes become hours, so that there are never many rows. A trigger counts runs no longer that are deleted.
"""

from __future__ import annotations

from typing import Any

from gateway.domain.run import FINAL_STATUSES, Status
from gateway.domain.times import HOUR_MILLISECONDS, MINUTE_MILLISECONDS
from gateway.store.sql.pieces import Piece
from gateway.store.sql.transaction import Reader, Transaction

#: milliseconds after which the minutes of an hour become one row
MINUTES_KEPT_MILLISECONDS = 48 * HOUR_MILLISECONDS
#: hours that one piece looks for
MAX_HOURS_MERGED = 100

_SUMS = ", ".join(f"coalesce(sum(iif(status = '{status}', n, 0)), 0)" for status in sorted(FINAL_STATUSES))


def count_end(tx: Transaction, status: Status, finished: int) -> None:
    """Count a run that has ended."""
    begins = finished // MINUTE_MILLISECONDS * MINUTE_MILLISECONDS
    tx.execute(
        "INSERT INTO end_counts (begins, status, ends, n) VALUES (?, ?, ?, 1)"
        " ON CONFLICT (begins, status) DO UPDATE SET n = end_counts.n + 1",
        (begins, status, begins + MINUTE_MILLISECONDS),
    )


def count_ended(reader: Reader, since: int) -> dict[str, int]:
    """Return how many runs have ended since a moment, in milliseconds since 1970 UTC, by status."""
    cut: Any = reader.execute(
        "SELECT max(ends) FROM end_counts WHERE begins > ? AND begins < ? AND ends > ?",
        (since - HOUR_MILLISECONDS, since, since),
    ).get
    whole_since = since if cut is None else cut
    sums: Any = reader.execute(f"SELECT {_SUMS} FROM end_counts WHERE begins >= ?", (whole_since,)).fetchone()
    counts = {str(status): int(n) for status, n in zip(sorted(FINAL_STATUSES), sums, strict=True)}
    if since < whole_since:
        rows: Any = reader.execute(
            "SELECT status, count(*) FROM runs INDEXED BY runs_finished WHERE finished >= ? AND finished < ?"
            " GROUP BY status",
            (since, whole_since),
        )
        for status, n in rows:
            counts[status] = counts.get(status, 0) + n
    return counts


def merge_minutes(tx: Transaction) -> bool:
    """Make one row of the minutes of each hour that is old. Returns whether there may be more of them."""
    piece = Piece(tx)
    old: Any = tx.execute(
        f"SELECT DISTINCT begins / {HOUR_MILLISECONDS} * {HOUR_MILLISECONDS} FROM end_counts"
        f" INDEXED BY end_counts_minutes WHERE ends - begins < {HOUR_MILLISECONDS} AND begins < ?"
        f" LIMIT {MAX_HOURS_MERGED}",
        ((tx.now - MINUTES_KEPT_MILLISECONDS) // HOUR_MILLISECONDS * HOUR_MILLISECONDS,),
    ).fetchall()
    for (begins,) in old:
        ends = begins + HOUR_MILLISECONDS
        found = "FROM end_counts WHERE begins >= ? AND begins < ?"
        sums = tx.execute(f"SELECT status, sum(n) {found} GROUP BY status", (begins, ends)).fetchall()
        tx.execute(f"DELETE {found}", (begins, ends))
        for status, n in sums:
            tx.execute(
                "INSERT INTO end_counts (begins, status, ends, n) VALUES (?, ?, ?, ?)", (begins, status, ends, n)
            )
        if not piece.may_go_on():
            return True
    return len(old) == MAX_HOURS_MERGED
