"""Tokens that another serving process created or revoked."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.domain.times import wall_clock
from gateway.domain.token import Scope
from gateway.engine.resources.tokens import Tokens
from gateway.errors import StorageFull
from tests.engine.stage import open_store

pytestmark = pytest.mark.both_stores


async def test_tokens_that_the_previous_process_created_and_revoked_are_known(tmp_path: Path) -> None:
    store = open_store(tmp_path)
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


async def test_browsers_that_the_previous_process_signed_in_and_out_are_known(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    before, after = (Tokens(store, "own", wall_clock) for _ in range(2))
    owner = before.authenticate_token(b"own")
    phone = before.authenticate_token((await before.create_token("phone", Scope.READ, None)).encode())
    assert owner is not None
    assert phone is not None
    kept, gone = [(await before.sign_in(caller, "a browser"))[0] for caller in (owner, phone)]
    await after.load_tokens()
    found = [after.authenticate_cookie(one) for one in (kept, gone)]
    made, _ = await before.sign_in(owner, "a browser")
    await before.revoke_token("phone")
    await after.load_tokens()
    await store.close()

    assert [one and (one.name, one.scope, one.revoked.is_set) for one in found] == [
        ("owner", Scope.ADMIN, False),
        ("phone", Scope.READ, True),
    ]
    assert after.authenticate_cookie(kept) is found[0]
    assert after.authenticate_cookie(gone) is None
    assert after.authenticate_cookie(made) is not None


async def test_a_full_disk_signs_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1_900_000_000_000]
    store = open_store(tmp_path, clock=lambda: moment[0])
    tokens = Tokens(store, "own", lambda: moment[0])
    owner = tokens.authenticate_token(b"own")
    assert owner is not None
    cookie, _ = await tokens.sign_in(owner, "a browser")
    browser = tokens.authenticate_cookie(cookie)
    assert browser is not None

    async def refuse(*_: object) -> None:
        raise StorageFull

    monkeypatch.setattr(store.tokens, "record_use", refuse)
    moment[0] += 2 * 86_400_000
    seconds = await tokens.record_use(browser)
    await store.close()

    assert seconds == 30 * 86_400
    assert tokens.authenticate_cookie(cookie) is browser
