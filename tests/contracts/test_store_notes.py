"""Every store keeps the contract: notes are written together, found by a prefix of their names, and expire."""

from __future__ import annotations

import pytest

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.ports.store import Store
from tests.contracts.stores import START, Shelf, SteppedClock, spec


async def test_notes_are_written_and_removed_together(store: Store) -> None:
    await store.notes.save("one", {"chat:1": "a", "chat:2": "b", "offset": "7"})
    await store.notes.save("other", {"chat:1": "c"})
    await store.notes.save("one", {"chat:1": None, "offset": "8"})

    assert await store.notes.list("one", "chat:") == {"chat:2": "b"}
    assert (await store.notes.get("one", "chat:1"), await store.notes.get("one", "offset")) == (None, "8")
    assert await store.notes.get("other", "chat:1") == "c"


async def test_a_note_may_be_written_only_if_another_exists(store: Store) -> None:
    await store.notes.save("one", {"code": ""})

    first = await store.notes.save("one", {"code": None, "chat": "a"}, only_if="code")
    second = await store.notes.save("one", {"code": None, "chat": "b"}, only_if="code")

    assert (first, second, await store.notes.get("one", "chat")) == (True, False, "a")


async def test_a_note_expires(store: Store, clock: SteppedClock) -> None:
    await store.notes.save("one", {"code": ""}, expires=START + 10)
    clock.forward(9)
    assert await store.notes.get("one", "code") == ""
    clock.forward(1)

    assert await store.notes.get("one", "code") is None
    assert await store.notes.list("one", "") == {}
    assert not await store.notes.save("one", {"chat": ""}, only_if="code")


async def test_notes_survive_reopening_the_store(shelf: Shelf, clock: SteppedClock) -> None:
    store = shelf.open()
    await store.notes.save("one", {"a": "kept"})
    await store.notes.save("one", {"b": "short"}, expires=START + 1)
    clock.forward(2)
    await store.retention.prune_expired()
    await store.close()

    assert await shelf.open().notes.list("one", "") == {"a": "kept"}


@pytest.mark.parametrize(("days", "fresh"), [(29, False), (31, True)])
async def test_an_idempotency_key_is_kept_for_its_lifetime(
    store: Store, clock: SteppedClock, days: int, fresh: bool
) -> None:
    month = IdempotencyKey(scope="s", key="k", digest="", lifetime=30 * 24 * 3600 * 1000)
    await store.runs.accept(spec(), month)
    clock.forward(days * 24 * 3600 * 1000)
    await store.retention.prune_expired()

    assert (await store.runs.accept(spec(), month)).is_new is fresh
