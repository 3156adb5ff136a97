"""Browsers that are signed in. Each is a row of `tokens`, with the hash of the secret in its cookie."""

from __future__ import annotations

from gateway.domain.token import Token
from gateway.store.sql import tokens
from gateway.store.sql.transaction import Transaction

#: sign-ins of one token that one new one may end
MAX_SIGN_INS_REMOVED = 1_000_000


def add_sign_in(tx: Transaction, sign_in: Token, at_most: int, replaced: str | None = None) -> list[str]:
    removed = tx.execute(
        "DELETE FROM tokens WHERE parent IS NOT NULL AND (expires <= ? OR hash = ?) RETURNING hash", (tx.now, replaced)
    ).fetchall()
    removed += tx.execute(
        "DELETE FROM tokens WHERE name IN (SELECT name FROM tokens INDEXED BY tokens_parent WHERE parent = ?"
        f" ORDER BY last_used DESC LIMIT {MAX_SIGN_INS_REMOVED} OFFSET ?) RETURNING hash",
        (sign_in.parent, at_most - 1),
    ).fetchall()
    tx.execute(
        "INSERT INTO tokens (name, hash, scope, expires, created, browser, parent, last_used)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            sign_in.name,
            sign_in.hash,
            sign_in.scope,
            sign_in.expires,
            sign_in.created,
            sign_in.browser,
            sign_in.parent,
            sign_in.last_used,
        ),
    )
    if removed:
        tokens.forget_uses(tx)
    return [str(hash_) for (hash_,) in removed]


def record_use(tx: Transaction, hash_: str, last_used: int, expires: int) -> None:
    tx.execute(
        "UPDATE tokens SET last_used = ?, expires = ? WHERE hash = ? AND parent IS NOT NULL",
        (last_used, expires, hash_),
    )
