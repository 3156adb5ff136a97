"""Pieces of housekeeping: one transaction does as much as fits in a few milliseconds, because requests wait for it.

Time bounds a piece, because a row may be in memory or on a slow disk, and may have a letter or a megabyte. Rows bound
it, too, because its commit writes each page that they have changed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gateway.store.sql.transaction import Transaction

#: seconds after which a piece does not go on
MAX_PIECE_SECONDS = 0.002
#: rows after which it does not go on, those of the search index and all that goes with a row included
MAX_PIECE_ROWS = 200
#: seconds between two pieces
PIECE_PAUSE_SECONDS = 0.02
#: rows that are deleted between two looks at the time
ROWS_BETWEEN_LOOKS = 5


class Piece:
    """The limits of one piece, counted from its creation."""

    def __init__(self, tx: Transaction) -> None:
        self._count_changes = tx.total_changes
        self._until = time.monotonic() + MAX_PIECE_SECONDS
        self._last_change = tx.total_changes() + MAX_PIECE_ROWS

    def may_go_on(self) -> bool:
        return time.monotonic() < self._until and self._count_changes() < self._last_change


def delete_some(tx: Transaction, statement: str, values: Mapping[str, Any], piece: Piece | None = None) -> bool:
    """Repeat a DELETE until it finds nothing more, or until the piece is over.

    Args:
        statement: deletes at most as many rows as the parameter `:rows` says.
        values: its other parameters, by name.

    Returns:
        Whether there may be more to delete.
    """
    piece = piece or Piece(tx)
    while True:
        tx.execute(statement, {**values, "rows": ROWS_BETWEEN_LOOKS})
        if tx.changes_made() < ROWS_BETWEEN_LOOKS:
            return False
        if not piece.may_go_on():
            return True
