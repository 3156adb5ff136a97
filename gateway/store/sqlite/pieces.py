"""Pieces of housekeeping: one transaction does as much as fits in a few milliseconds, because requests wait for it.

Time bounds a piece, and not rows: a row may be in memory or on a slow disk, and may have a letter or a megabyte.
"""

from __future__ import annotations

import time

import apsw

from gateway.store.sqlite.database import Transaction

#: seconds after which a piece does not go on
MAX_PIECE_SECONDS = 0.002
#: seconds between two pieces
PIECE_PAUSE_SECONDS = 0.02
#: rows that are deleted between two looks at the time
ROWS_BETWEEN_LOOKS = 5


class Piece:
    """The time of one piece, counted from its creation."""

    def __init__(self) -> None:
        self._until = time.monotonic() + MAX_PIECE_SECONDS

    def has_time(self) -> bool:
        """Return whether the piece may go on."""
        return time.monotonic() < self._until


def delete_some(tx: Transaction, statement: str, values: apsw.Bindings, piece: Piece | None = None) -> bool:
    """Repeat a DELETE until it finds nothing more, or until the time of the piece is over.

    Args:
        statement: deletes at most as many rows as the parameter `:rows` says.
        values: its other parameters, by name.

    Returns:
        Whether there may be more to delete.
    """
    piece = piece or Piece()
    while True:
        tx.execute(statement, {**values, "rows": ROWS_BETWEEN_LOOKS})  # type: ignore[dict-item]
        if tx.changes_made() < ROWS_BETWEEN_LOOKS:
            return False
        if not piece.has_time():
            return True
