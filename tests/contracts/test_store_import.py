"""What a store keeps of a run of another system."""

from __future__ import annotations

import pytest

from gateway.domain.event import End
from gateway.domain.event import Status as StatusEvent
from gateway.domain.ports.store import Store
from gateway.domain.run import Outcome, Run, RunFilter, Status
from gateway.errors import Unavailable
from tests.contracts.stores import ALL, LIMITS, PAGE, START, Shelf, Told, key, spec


def other_run(name: str = "old-1", **fields: object) -> Run:
    ended = {
        "status": Status.SUCCEEDED,
        "outcome": Outcome.COMPLETED,
        "result": "ok",
        "started": START,
        "finished": START + 1,
    }
    return Run(seq=0, id=name, created=START, spec=spec(labels={"from": "xcclaw"}), **{**ended, **fields})  # type: ignore[arg-type]


HELD = {"status": Status.HELD, "outcome": None, "result": None, "started": None, "finished": None}


async def test_a_run_that_has_ended_is_found_with_its_end_and_its_labels(store: Store) -> None:
    assert await store.runs.import_run(other_run(), key()) is None

    (found,) = await store.runs.list(RunFilter(label="from"), PAGE)
    (event,) = await store.events.read_after(found.id, 0, 10, 10_000)
    assert found.id != "old-1"
    assert (found.status, found.result, found.finished) == (Status.SUCCEEDED, "ok", START + 1)
    assert event.data == End(status=Status.SUCCEEDED, outcome=Outcome.COMPLETED, result="ok")
    assert await store.runs.claim("me", LIMITS) == []


async def test_an_import_is_told_to_those_who_watch_the_runs(store: Store) -> None:
    told = Told(store)
    await store.runs.import_run(other_run(), key())

    (found,) = await store.runs.list(ALL, PAGE)
    assert found.id in [change.ref for change in told.changes]


async def test_a_held_run_waits_for_a_person(store: Store) -> None:
    await store.runs.import_run(other_run(**HELD), key())

    (found,) = await store.runs.list(ALL, PAGE)
    (event,) = await store.events.read_after(found.id, 0, 10, 10_000)
    assert (found.status, event.data) == (Status.HELD, StatusEvent(status=Status.HELD))
    assert await store.sessions.find(found.spec.session) is not None
    assert await store.runs.claim("me", LIMITS) == []


@pytest.mark.parametrize("fields", [{}, HELD], ids=["ended", "held"])
async def test_a_run_is_imported_once(store: Store, fields: dict[str, object]) -> None:
    await store.runs.import_run(other_run(**fields), key())
    (stored,) = await store.runs.list(ALL, PAGE)

    for name, by in (("old-1", key()), (stored.id, key("another"))):  # the second: it was exported from here
        earlier = await store.runs.import_run(other_run(name, **fields), by)
        assert earlier is not None
        assert earlier.id == stored.id
    assert await store.runs.import_run(other_run("old-2", **fields), key("k2")) is None
    assert len(await store.runs.list(ALL, PAGE)) == 2


async def test_a_dry_run_stores_nothing_and_knows_what_is_there(store: Store) -> None:
    assert await store.runs.import_run(other_run(), key(), dry_run=True) is None
    assert await store.runs.list(ALL, PAGE) == []

    await store.runs.import_run(other_run(), key())
    assert await store.runs.import_run(other_run(), key(), dry_run=True) is not None


async def test_held_runs_count_towards_the_queue_limit_and_others_do_not(shelf: Shelf) -> None:
    store = shelf.open(queue_limit=1)
    await store.runs.import_run(other_run(), key("ended"))
    await store.runs.import_run(other_run("old-2", **HELD), key("held"))

    with pytest.raises(Unavailable, match="1 runs are waiting already"):
        await store.runs.import_run(other_run("old-3", **HELD), key("too many"))
    assert await store.runs.import_run(other_run("old-4"), key("another")) is None


async def test_a_run_that_would_start_is_not_imported(store: Store) -> None:
    with pytest.raises(AssertionError, match="never runs by itself"):
        await store.runs.import_run(other_run(status=Status.QUEUED), key())
