"""Notes: small values that a channel keeps, such as which chats are paired and how far it has read."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.store.sqlite.database import Reader, Transaction

_NOT_EXPIRED = "(expires IS NULL OR expires > ?)"


def get_note(reader: Reader, scope: str, name: str) -> str | None:
    row = reader.execute(
        f"SELECT value FROM notes WHERE scope = ? AND name = ? AND {_NOT_EXPIRED}", (scope, name, reader.now)
    ).fetchone()
    return str(row[0]) if row else None


def list_notes(reader: Reader, scope: str, prefix: str) -> dict[str, str]:
    rows = reader.execute(
        f"SELECT name, value FROM notes WHERE scope = ? AND name >= ? AND name < ? AND {_NOT_EXPIRED} ORDER BY name",
        (scope, prefix, prefix + chr(0x10FFFF), reader.now),
    )
    return {str(name): str(value) for name, value in rows}


def save_notes(
    tx: Transaction,
    scope: str,
    changes: Mapping[str, str | None],
    *,
    expires: int | None = None,
    only_if: str | None = None,
) -> bool:
    if only_if is not None:
        there = f"SELECT 1 FROM notes WHERE scope = ? AND name = ? AND {_NOT_EXPIRED}"
        if tx.execute(there, (scope, only_if, tx.now)).fetchone() is None:
            return False
    for name, value in changes.items():
        if value is None:
            tx.execute("DELETE FROM notes WHERE scope = ? AND name = ?", (scope, name))
        else:
            tx.execute(
                "INSERT OR REPLACE INTO notes (scope, name, value, expires) VALUES (?, ?, ?, ?)",
                (scope, name, value, expires),
            )
    return True


def prune_notes(tx: Transaction) -> None:
    tx.execute("DELETE FROM notes WHERE expires <= ?", (tx.now,))
