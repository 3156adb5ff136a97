"""One-time tickets. Only their hashes are stored; on disk, so that they work after a restart too."""

from __future__ import annotations

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.token import Ticket
from gateway.store.sql import idempotency
from gateway.store.sql.transaction import Transaction


def add_ticket(tx: Transaction, ticket: Ticket, key: IdempotencyKey | None = None) -> None:
    tx.execute("DELETE FROM tickets WHERE expires <= ?", (tx.now,))
    earlier = idempotency.find_used(tx, key)
    if earlier is not None:  # the client never got the answer with the secret
        tx.execute("DELETE FROM tickets WHERE hash = ?", (earlier,))
    idempotency.save_key(tx, key, ticket.hash)
    tx.execute(
        "INSERT INTO tickets (hash, token, expires) VALUES (?, ?, ?)", (ticket.hash, ticket.token, ticket.expires)
    )


def redeem_ticket(tx: Transaction, hash_: str) -> str | None:
    row = tx.execute("DELETE FROM tickets WHERE hash = ? RETURNING token, expires", (hash_,)).fetchone()
    if row is None:
        return None
    token, expires = row
    assert isinstance(expires, int)
    return str(token) if expires > tx.now else None
