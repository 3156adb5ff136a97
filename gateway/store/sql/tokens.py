"""Named tokens, and browsers that signed in with them. Only the hashes of their secrets are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.token import Scope, Token
from gateway.domain.unreadable import RowKind
from gateway.errors import Conflict
from gateway.store.sql import idempotency
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows


def add_token(tx: Transaction, token: Token, key: IdempotencyKey | None = None) -> None:
    if idempotency.find_used(tx, key) is not None:  # the client never got the answer with the secret
        revoke_token(tx, token.name)
    if tx.execute("SELECT 1 FROM tokens WHERE name = ? OR hash = ?", (token.name, token.hash)).get:
        raise Conflict(f"there is a token with the name {token.name!r} already.")
    idempotency.save_key(tx, key, token.name)
    tx.execute(
        "INSERT INTO tokens (name, hash, scope, expires, created) VALUES (?, ?, ?, ?, ?)",
        (token.name, token.hash, token.scope, token.expires, token.created),
    )


def revoke_token(tx: Transaction, name: str) -> bool:
    """Delete a token and what signed in with it, and its idempotency keys: another of that name is another caller."""
    tx.execute(
        "DELETE FROM tokens INDEXED BY tokens_parent WHERE parent = (SELECT hash FROM tokens WHERE name = ?)", (name,)
    )
    tx.execute("DELETE FROM tokens WHERE name = ?", (name,))
    revoked = tx.changes_made() > 0
    if revoked:
        idempotency.delete_keys_of_token(tx, name)
    return revoked


def list_tokens(reader: Reader) -> list[Token]:
    rows = reader.execute(
        "SELECT name, hash, scope, expires, created, browser, parent, last_used FROM tokens ORDER BY name"
    )
    return decode_rows(reader, RowKind.TOKEN, rows, _decode_token, lambda row: (row[0],))


def _decode_token(row: Sequence[Any]) -> Token:
    name, hash_, scope, expires, created, browser, parent, last_used = row
    return Token(
        name=name,
        hash=hash_,
        scope=Scope(scope),
        expires=expires,
        created=created,
        browser=browser,
        parent=parent,
        last_used=last_used,
    )
