"""Notes: small values that a channel keeps, such as which chats are paired and how far it has read."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.domain.audit import AuditNote
from gateway.domain.unreadable import RowKind
from gateway.errors import Unreadable
from gateway.store.sql.pieces import delete_some
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows, fetch_row

_NOT_EXPIRED = "(expires IS NULL OR expires > ?)"


def get_note(reader: Reader, scope: str, name: str) -> str | None:
    """Return a note; None if there is none, or if it cannot be read."""
    rows = reader.execute(
        f"SELECT value FROM notes WHERE scope = ? AND name = ? AND {_NOT_EXPIRED}", (scope, name, reader.now)
    )
    with contextlib.suppress(Unreadable):
        return fetch_row(reader, RowKind.NOTE, rows, lambda row: str(row[0]), lambda: (scope, name))
    return None


def list_notes(reader: Reader, scope: str, prefix: str) -> dict[str, str]:
    rows = reader.execute(
        f"SELECT name, value FROM notes WHERE scope = ? AND name >= ? AND name < ? AND {_NOT_EXPIRED} ORDER BY name",
        (scope, prefix, prefix + chr(0x10FFFF), reader.now),
    )
    found = decode_rows(reader, RowKind.NOTE, rows, _decode_note, lambda row: (scope, row[0]))
    return dict(found)


def _decode_note(row: Sequence[Any]) -> tuple[str, str]:
    name, value = row
    return str(name), str(value)


def save_notes(
    tx: Transaction,
    scope: str,
    changes: Mapping[str, str | None],
    *,
    expires: int | None = None,
    only_if: str | None = None,
    audited: AuditNote | None = None,
) -> bool:
    """Save notes; `describe_notes` tells the audit log of it."""
    if only_if is not None:
        there = f"SELECT 1 FROM notes WHERE scope = ? AND name = ? AND {_NOT_EXPIRED}"
        if tx.execute(there, (scope, only_if, tx.now)).fetchone() is None:
            return False
    for name, value in changes.items():
        if value is None:
            tx.execute("DELETE FROM notes WHERE scope = ? AND name = ?", (scope, name))
        else:
            tx.execute(
                "INSERT INTO notes (scope, name, value, expires) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (scope, name) DO UPDATE SET value = excluded.value, expires = excluded.expires",
                (scope, name, value, expires),
            )
    return True


def prune_notes(tx: Transaction) -> bool:
    return delete_some(
        tx,
        "DELETE FROM notes WHERE (scope, name) IN (SELECT scope, name FROM notes INDEXED BY notes_expires"
        " WHERE expires <= :now ORDER BY expires LIMIT :rows)",
        {"now": tx.now},
    )
