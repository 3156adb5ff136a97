"""Idempotency keys: the same key with the same body gives the same answer, for as long as the key lives."""

from __future__ import annotations

import msgspec

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.run import RunBatch
from gateway.errors import Conflict
from gateway.store.sql.pieces import delete_some
from gateway.store.sql.transaction import Reader, Transaction

_decode_batch = msgspec.json.Decoder(RunBatch).decode


def find_used(reader: Reader, key: IdempotencyKey | None) -> str | None:
    """Return what a key was used for: the id of a run, a session's key and so on; None if the key is new.

    Raises:
        Conflict: it was used with another body.
    """
    if key is None:
        return None
    row = reader.execute(
        "SELECT digest, ref FROM idempotency WHERE scope = ? AND key = ? AND expires > ?",
        (key.scope, key.key, reader.now),
    ).fetchone()
    if row is None:
        return None
    digest, ref = row
    if digest != key.digest:
        raise Conflict("this Idempotency-Key was used with another body.", remedy="Use a new key for a new request.")
    return str(ref)


def save_key(tx: Transaction, key: IdempotencyKey | None, ref: str) -> None:
    if key is not None:
        tx.execute(
            "INSERT INTO idempotency (scope, key, digest, ref, expires) VALUES (?, ?, ?, ?, ?) ON CONFLICT (scope, key)"
            " DO UPDATE SET digest = excluded.digest, ref = excluded.ref, expires = excluded.expires",
            (key.scope, key.key, key.digest, ref, tx.now + key.lifetime),
        )


def find_batch(reader: Reader, key: IdempotencyKey | None) -> RunBatch | None:
    """Return the runs that were chosen for a batch under a key; None if the key is new."""
    used = find_used(reader, key)
    return None if used is None else _decode_batch(used)


def remember_batch(tx: Transaction, chosen: RunBatch, key: IdempotencyKey) -> RunBatch:
    """Keep which runs were chosen for a batch; return those that were chosen earlier under this key, if any."""
    earlier = find_batch(tx, key)
    if earlier is None:
        save_key(tx, key, msgspec.json.encode(chosen).decode())
    return earlier or chosen


def delete_keys_of_token(tx: Transaction, name: str) -> None:
    """Delete the keys that a token has used. Their scope is the token's name, a method and a path."""
    tx.execute(
        "DELETE FROM idempotency WHERE scope > ? AND scope < ? AND instr(scope, ' /') > 0", (f"{name} ", f"{name}!")
    )


def prune_keys(tx: Transaction) -> bool:
    return delete_some(
        tx,
        "DELETE FROM idempotency WHERE (scope, key) IN (SELECT scope, key FROM idempotency INDEXED BY"
        " idempotency_expires WHERE expires <= :now ORDER BY expires LIMIT :rows)",
        {"now": tx.now},
    )
