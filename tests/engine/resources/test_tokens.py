"""Tokens that another serving process created or revoked."""

from __future__ import annotations

from pathlib import Path

from gateway.domain.times import wall_clock
from gateway.domain.token import Scope
from gateway.engine.resources.tokens import Keyring
from gateway.store.sqlite.store import SqliteStore


async def test_tokens_that_the_previous_process_created_and_revoked_are_known(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "moongate.db")
    before, after = (Keyring(store, "own", wall_clock) for _ in range(2))
    kept, revoked = [await before.create(name, Scope.READ, None) for name in ("kept", "revoked")]
    await after.load()
    known, gone = after.admit(kept.encode()), after.admit(revoked.encode())
    made = await before.create("made", Scope.READ, None)
    await before.revoke("revoked")
    await after.load()
    await store.close()

    assert known is not None
    assert gone is not None
    assert after.admit(kept.encode()) is known
    assert (after.admit(revoked.encode()), gone.gone.is_set, known.gone.is_set) == (None, True, False)
    assert after.admit(made.encode()) is not None
