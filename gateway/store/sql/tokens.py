"""Named tokens, and browsers that signed in with them. Only the hashes of their secrets are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.token import OWN_TOKEN, Scope, Token, TokenUse
from gateway.domain.unreadable import RowKind
from gateway.errors import Conflict
from gateway.store.sql import idempotency
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows

_encode = msgspec.json.Encoder().encode
_names = msgspec.json.Decoder(tuple[str, ...]).decode


def add_token(tx: Transaction, token: Token, key: IdempotencyKey | None = None) -> None:
    if idempotency.find_used(tx, key) is not None:  # the client never got the answer with the secret
        revoke_token(tx, token.name)
    if tx.execute("SELECT 1 FROM tokens WHERE name = ? OR hash = ?", (token.name, token.hash)).get:
        raise Conflict(f"there is a token with the name {token.name!r} already.")
    idempotency.save_key(tx, key, token.name)
    tx.execute(
        "INSERT INTO tokens (name, hash, scope, expires, created, agents, sessions) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            token.name,
            token.hash,
            token.scope,
            token.expires,
            token.created,
            _encode_names(token.agents),
            _encode_names(token.sessions),
        ),
    )


def revoke_token(tx: Transaction, name: str) -> bool:
    """Delete a token and what signed in with it, and its idempotency keys: another of that name is another caller."""
    tx.execute(
        "DELETE FROM tokens INDEXED BY tokens_parent WHERE parent = (SELECT hash FROM tokens WHERE name = ?)", (name,)
    )
    tx.execute("DELETE FROM tokens WHERE name = ?", (name,))
    revoked = tx.changes_made() > 0
    if revoked:
        forget_uses(tx)
        idempotency.delete_keys_of_token(tx, name)
    return revoked


def list_tokens(reader: Reader) -> list[Token]:
    rows = reader.execute(
        "SELECT name, hash, scope, expires, created, browser, parent, last_used, agents, sessions FROM tokens"
        " ORDER BY name"
    )
    return decode_rows(reader, RowKind.TOKEN, rows, _decode_token, lambda row: (row[0],))


def _decode_token(row: Sequence[Any]) -> Token:
    name, hash_, scope, expires, created, browser, parent, last_used, agents, sessions = row
    return Token(
        name=name,
        hash=hash_,
        scope=Scope(scope),
        expires=expires,
        created=created,
        browser=browser,
        parent=parent,
        last_used=last_used,
        agents=_decode_names(agents),
        sessions=_decode_names(sessions),
    )


def save_uses(tx: Transaction, uses: Sequence[TokenUse]) -> None:
    for use in uses:
        if use.token != OWN_TOKEN and not tx.execute("SELECT 1 FROM tokens WHERE hash = ?", (use.token,)).get:
            continue  # it was revoked meanwhile
        tx.execute(
            "INSERT INTO token_uses (token, at, address, client) VALUES (?, ?, ?, ?) ON CONFLICT (token) DO UPDATE"
            " SET at = excluded.at, address = excluded.address, client = excluded.client"
            " WHERE token_uses.at < excluded.at",
            (use.token, use.at, use.address, use.client),
        )


def forget_uses(tx: Transaction) -> None:
    """Forget the uses of tokens and browsers that are gone."""
    tx.execute("DELETE FROM token_uses WHERE token <> ? AND token NOT IN (SELECT hash FROM tokens)", (OWN_TOKEN,))


def list_uses(reader: Reader) -> list[TokenUse]:
    rows = reader.execute("SELECT token, at, address, client FROM token_uses")
    return [TokenUse(token=token, at=at, address=address, client=client) for token, at, address, client in rows]


def _encode_names(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else _encode(names).decode()


def _decode_names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else _names(text)
