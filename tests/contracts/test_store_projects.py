"""Every store keeps the contract: projects have names and notes, and know how many runs have their label."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.project import MAX_PROJECTS
from gateway.domain.run import Status
from gateway.errors import Conflict, ProjectNotFound
from tests.contracts.stores import LIMITS, PAGE, START, SteppedClock, Told, claim_one, finish, key, spec


async def counts_of(store: Store, slug: str) -> Mapping[Status, int]:
    return (await store.projects.get(slug)).counts


async def test_projects_are_listed_in_pages_the_newest_first(store: Store) -> None:
    for slug in "abc":
        await store.projects.create(slug, slug.upper(), "")

    first = await store.projects.list(Page(limit=2))
    rest = await store.projects.list(Page(limit=2, before=first[-1].project.seq))
    assert [view.project.slug for view in (*first, *rest)] == ["c", "b", "a"]


async def test_a_project_is_changed_in_part(store: Store, clock: SteppedClock) -> None:
    await store.projects.create("garden", "Garden", "water it")
    clock.forward(5)
    renamed = await store.projects.edit("garden", name="Yard", note=None)
    noted = await store.projects.edit("garden", name=None, note="")

    assert (renamed.name, renamed.note, renamed.created, renamed.updated) == ("Yard", "water it", START, START + 5)
    assert (noted.name, noted.note) == ("Yard", "")
    assert (await store.projects.get("garden")).project == noted


async def test_a_slug_is_taken_once_and_free_again_after_its_project(store: Store) -> None:
    await store.projects.create("garden", "Garden", "")
    with pytest.raises(Conflict, match="garden"):
        await store.projects.create("garden", "Other", "")
    await store.projects.delete("garden")

    assert (await store.projects.create("garden", "Other", "")).name == "Other"


async def test_the_same_request_makes_one_project(store: Store) -> None:
    first = await store.projects.create("garden", "Garden", "", key())
    again = await store.projects.create("garden", "Garden", "", key())
    with pytest.raises(Conflict):
        await store.projects.create("other", "Other", "", key(digest="another"))
    await store.projects.delete("garden")

    assert again == first
    assert (await store.projects.create("garden", "Garden", "", key())).slug == "garden"


async def test_there_is_a_limit_of_projects(store: Store) -> None:
    for number in range(MAX_PROJECTS):
        await store.projects.create(f"p{number}", "", "")

    with pytest.raises(Conflict, match=str(MAX_PROJECTS)):
        await store.projects.create("one-more", "", "")


async def test_a_project_that_is_not_there_is_missed(store: Store) -> None:
    told = Told(store)
    with pytest.raises(ProjectNotFound):
        await store.projects.get("gone")
    with pytest.raises(ProjectNotFound):
        await store.projects.edit("gone", name="a", note=None)
    with pytest.raises(ProjectNotFound):
        await store.projects.delete("gone")

    assert told.changes == []


async def test_what_becomes_of_a_project_is_in_the_log_of_changes(store: Store) -> None:
    await store.projects.create("garden", "Garden", "")
    await store.projects.edit("garden", name=None, note="water it")
    await store.projects.delete("garden")

    changes = [(one.topic, one.ref, one.state) for one in await store.events.read_changes_after(0, 10)]
    assert changes == [("project", "garden", state) for state in ("created", "edited", "deleted")]


async def test_a_project_counts_the_runs_with_its_label_as_they_move(store: Store) -> None:
    await store.runs.accept(spec("main:test:a", labels={"project": "garden"}))
    await store.projects.create("garden", "Garden", "")
    await store.runs.accept(spec("main:test:b", labels={"project": "garden", "other": "x"}))
    await store.runs.accept(spec("main:test:c", labels={"project": "house"}))
    await store.runs.accept(spec("main:test:d", labels={"garden": "project"}, held=True))
    await store.runs.accept(spec("main:test:e", labels={"project": "garden"}, held=True))
    queued = await counts_of(store, "garden")
    claimed = {run.spec.session: run for run in await store.runs.claim("owner", LIMITS)}
    running = await counts_of(store, "garden")
    await finish(store, claimed["main:test:a"])
    await store.runs.requeue(claimed["main:test:b"].id, claimed["main:test:b"].epoch, "why")

    assert queued == {Status.QUEUED: 2, Status.HELD: 1}
    assert running == {Status.RUNNING: 2, Status.HELD: 1}
    assert await counts_of(store, "garden") == {Status.QUEUED: 1, Status.SUCCEEDED: 1, Status.HELD: 1}


async def test_runs_that_are_pruned_are_counted_no_more(store: Store, clock: SteppedClock) -> None:
    await store.projects.create("garden", "Garden", "")
    await store.runs.accept(spec(labels={"project": "garden"}))
    await finish(store, await claim_one(store))
    await store.runs.accept(spec())
    clock.forward(10)
    before = await counts_of(store, "garden")
    pruned = await store.retention.prune_runs(clock.now)

    assert (before, len(pruned.runs), await counts_of(store, "garden")) == ({Status.SUCCEEDED: 1}, 1, {})


async def test_a_deleted_project_leaves_its_runs(store: Store) -> None:
    await store.projects.create("garden", "Garden", "")
    run = (await store.runs.accept(spec(labels={"project": "garden"}))).run
    await store.projects.delete("garden")
    await store.projects.create("garden", "Garden", "")

    assert (await store.runs.get(run.id)).spec.labels == {"project": "garden"}
    assert await counts_of(store, "garden") == {Status.QUEUED: 1}
    assert [view.counts for view in await store.projects.list(PAGE)] == [{Status.QUEUED: 1}]
