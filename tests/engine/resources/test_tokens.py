"""Tokens that another serving process created or revoked."""

from __future__ import annotations

from pathlib import Path

from gateway.domain.times import wall_clock
from gateway.domain.token import Scope
from gateway.engine.resources.tokens import Tokens
from gateway.store.sqlite.store import SqliteStore


async def test_tokens_that_the_previous_process_created_and_revoked_are_known(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "moongate.db")
    before, after = (Tokens(store, "own", wall_clock) for _ in range(2))
    kept, revoked = [await before.create_token(name, Scope.READ, None) for name in ("kept", "revoked")]
    await after.load_tokens()
    known, gone = after.authenticate_token(kept.encode()), after.authenticate_token(revoked.encode())
    made = await before.create_token("made", Scope.READ, None)
    await before.revoke_token("revoked")
    await after.load_tokens()
    await store.close()

    assert known is not None
    assert gone is not None
    assert after.authenticate_token(kept.encode()) is known
    assert (after.authenticate_token(revoked.encode()), gone.revoked.is_set, known.revoked.is_set) == (
        None,
        True,
        False,
    )
    assert after.authenticate_token(made.encode()) is not None
