"""Workspaces in the store: which are released, which are listed, and which rows stay."""

from __future__ import annotations

from gateway.domain.session import SessionKey
from gateway.store.sql import workspaces
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import PAGE, START, claim_one, finish, spec

ONE, TWO = "main:test:a", "main:test:b"


def _parse(session: str) -> SessionKey:
    return SessionKey(*session.split(":"))


async def opened(store: SqliteStore, session: str, seq: int = 100) -> str:
    return await store._database.write(lambda tx: workspaces.open_workspace(tx, session, seq))


async def released(store: SqliteStore) -> list[tuple[str, bool]]:
    """Return the released workspaces, and whether an agent works in them."""
    return [tuple(one) for one in await store.workspaces.list_released()]


async def test_workspaces_of_sessions_with_open_runs_are_not_released_by_age(store: SqliteStore) -> None:
    await store.runs.accept(spec(ONE))
    await finish(store, await claim_one(store))
    await store.runs.accept(spec(TWO))
    unused, _ = [await opened(store, session) for session in (ONE, TWO)]

    assert await store.workspaces.release_unused(START) == 1
    assert await released(store) == [(unused, False)]


async def test_a_released_workspace_is_in_use_until_its_session_runs_no_more(store: SqliteStore) -> None:
    await store.runs.accept(spec(ONE))
    run = await claim_one(store)
    name = await opened(store, ONE)
    await store.sessions.delete(ONE, force=True)
    meanwhile = await released(store)
    await finish(store, run)

    assert (meanwhile, await released(store)) == ([(name, True)], [(name, False)])


async def test_a_released_workspace_is_free_when_a_later_session_of_the_same_key_has_its_own(
    store: SqliteStore,
) -> None:
    await store.runs.accept(spec(ONE))
    await finish(store, await claim_one(store))
    name = await opened(store, ONE)
    await store.sessions.delete(ONE, force=False)
    await store.runs.accept(spec(ONE))
    await claim_one(store)
    meanwhile = await released(store)
    other = await opened(store, ONE)

    assert (meanwhile, await released(store)) == ([(name, True)], [(name, False)])
    assert other != name


async def test_only_released_workspaces_are_forgotten(store: SqliteStore) -> None:
    await store.sessions.open(_parse(ONE))
    name = await opened(store, ONE)
    await store.workspaces.forget([name])

    assert await opened(store, ONE) == name


async def test_a_released_workspace_is_not_used_again(store: SqliteStore) -> None:
    await store.sessions.open(_parse(ONE))
    name = await opened(store, ONE)
    await store._database.write(lambda tx: workspaces.release_workspace(tx, ONE))
    recent = await store._database.read(lambda reader: workspaces.find_recent_workspace(reader, ONE, 1))

    assert recent is None
    assert await opened(store, ONE) != name


async def test_the_workspace_of_a_deleted_session_is_released_from_its_beginning(store: SqliteStore) -> None:
    name = await opened(store, ONE)

    assert await released(store) == [(name, False)]


async def test_deleting_a_session_leaves_the_others(store: SqliteStore) -> None:
    for session in (ONE, TWO):
        await store.sessions.open(_parse(session))
    name, other = [await opened(store, session) for session in (ONE, TWO)]
    await store.sessions.delete(ONE, force=False)

    assert [session.key for session in await store.sessions.list(PAGE)] == [TWO]
    assert (await released(store), await opened(store, TWO)) == ([(name, False)], other)
