"""The directories of sessions: made for those that need one, and removed when nobody uses them any more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.domain.event import Text
from gateway.domain.ports.backend import Turn
from gateway.domain.retention import Retention
from gateway.engine.background import workspace_removal
from gateway.store.sql import workspaces
from harness.waiting import PATIENCE, until
from tests.contracts.stores import SteppedClock
from tests.engine.stage import Anything, Stage, hanging, staged

DAY = 86_400_000


async def writing(turn: Turn) -> AsyncGenerator[Anything, None]:
    """Answer the names of the files in the workspace, and write one more."""
    place = Path(turn.workspace)
    yield Text(delta=" ".join(written(place)))
    (place / turn.input).write_text("x")


def written(place: Path) -> list[str]:
    """Return the names of the files that turns have written into a workspace."""
    return sorted(file.name for file in place.iterdir() if file.is_file())


def directories(stage: Stage) -> list[Path]:
    place = stage.directory / "workspaces"
    return sorted(place.iterdir()) if place.is_dir() else []


async def test_the_turns_of_a_session_share_a_directory_and_sessions_do_not(tmp_path: Path) -> None:
    async with staged(tmp_path, writing) as stage:
        await stage.do("one")
        again, other = await stage.do("two"), await stage.do("one", session="main:test:b")

        assert (again.result, other.result) == ("one", "")
        assert len(directories(stage)) == 2
        assert (directories(stage)[0].stat().st_mode & 0o777) == 0o700


async def test_a_backend_that_needs_no_directory_gets_none(tmp_path: Path) -> None:
    seen: list[str] = []

    async def noting(turn: Turn) -> AsyncGenerator[Anything, None]:
        seen.append(turn.workspace)
        yield Text(delta="done")

    async with staged(tmp_path, noting, without_workspace=["scripted"]) as stage:
        await stage.do()

        assert (seen, directories(stage)) == ([""], [])


async def test_a_directory_goes_with_its_session(tmp_path: Path) -> None:
    async with staged(tmp_path, writing) as stage:
        run = await stage.do("secret")
        await stage.do("kept", session="main:test:b")
        await stage.engine.sessions.delete_session(run.spec.session, force=False)
        again = await stage.do("new")  # at once, before the directory of the deleted one is gone

        assert again.result == ""
        await until(lambda: len(directories(stage)) == 2, "the old directory is removed")
        assert sorted(name for place in directories(stage) for name in written(place)) == ["kept", "new"]


async def test_a_directory_stays_as_long_as_the_agent_of_a_deleted_session_works_in_it(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        run = await stage.said(await stage.submit())
        assert len(directories(stage)) == 1
        await stage.engine.sessions.delete_session(run.spec.session, force=True)
        await stage.ended(run)

        await until(lambda: not directories(stage), "it is removed after the run")


async def test_a_directory_is_removed_also_if_its_session_began_again_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = asyncio.Event()

    async def waiting(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="done")
        await may_end.wait()

    monkeypatch.setattr(workspace_removal, "IN_USE_ROUND_SECONDS", 0.01)
    async with staged(tmp_path, waiting, without_workspace=["scripted"]) as stage:
        run = await stage.said(await stage.submit())
        left = stage.directory / "workspaces" / await stage.store.workspaces.open(run.spec.session, run.seq)
        left.mkdir(parents=True)
        await stage.store._database.write(lambda tx: workspaces.release_workspace(tx, run.spec.session))
        stage.engine._workspace_removal.wake()
        await asyncio.sleep(0.05)
        assert left.exists()
        may_end.set()
        await stage.ended(run)

        await until(lambda: not left.exists(), "it is removed after the run")


@pytest.mark.parametrize("fields", [{"ephemeral": True}, {"keeps_workspace": False}])
async def test_a_run_that_nobody_can_continue_leaves_no_directory(tmp_path: Path, fields: dict[str, bool]) -> None:
    async with staged(tmp_path, writing) as stage:
        await stage.do("one", **fields)

        await until(lambda: not directories(stage), "it is removed")


async def test_what_a_crash_left_is_removed_after_the_next_start(tmp_path: Path) -> None:
    async with staged(tmp_path, writing) as stage:
        run = await stage.do("one")
        await stage.store.sessions.delete(run.spec.session, force=False)  # and nobody is told
        assert len(directories(stage)) == 1
    async with staged(tmp_path, writing) as stage:
        await until(lambda: not directories(stage), "it is removed")


async def test_unused_directories_are_removed_and_their_sessions_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppedClock()
    retention = Retention(workspaces_days=1)
    async with staged(tmp_path, writing, clock=clock, retention=retention) as stage:
        old = await stage.do("old")
        clock.forward(DAY + 1)
        await stage.do("new", session="main:test:b")
    async with staged(tmp_path, writing, clock=clock, retention=retention) as stage:
        await until(lambda: len(directories(stage)) == 1, "the unused one is removed")

        assert written(directories(stage)[0]) == ["new"]
        assert await stage.store.sessions.find(old.spec.session) is not None
        assert (await stage.do("again")).result == ""


async def test_a_directory_that_is_used_now_and_then_is_not_unused(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with staged(tmp_path, writing, clock=clock, retention=Retention(workspaces_days=1)) as stage:
        for _ in range(4):
            await stage.do("one")
            clock.forward(DAY // 2)
    async with staged(tmp_path, writing, clock=clock, retention=Retention(workspaces_days=1)) as stage:
        assert (await stage.do("two")).result == "one"


async def test_read_only_directories_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    (outside := tmp_path / "outside").mkdir()
    (outside / "precious").write_text("x")
    outside.chmod(0o500)
    place = tmp_path / "work"
    (place / "cache" / "deep").mkdir(parents=True)
    (place / "cache" / "deep" / "file").write_text("x")
    (place / "link").symlink_to(outside)
    for directory in (place / "cache" / "deep", place / "cache"):
        directory.chmod(0o500)

    assert workspace_removal._remove_directory(place)
    assert not place.exists()
    assert (outside / "precious").exists()
    assert (outside.stat().st_mode & 0o777) == 0o500


async def test_a_directory_that_cannot_be_removed_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def refuse(place: Path) -> bool:
        nonlocal tries
        tries += 1
        return False

    async with staged(tmp_path, writing) as stage:
        monkeypatch.setattr(workspace_removal, "_remove_directory", refuse)
        run = await stage.do("one")
        await stage.engine.sessions.delete_session(run.spec.session, force=False)
        await until(lambda: tries == 1, "it was tried")
        stage.engine._workspace_removal.wake()
        await asyncio.sleep(0.05)
        assert tries == 1, "it is tried again only after a while"
        monkeypatch.undo()
        assert await stage.store.workspaces.list_released() == [(os.path.basename(directories(stage)[0]), False)]
    async with staged(tmp_path, writing) as stage:
        await until(lambda: not directories(stage), "it is removed")


async def test_many_directories_that_cannot_be_removed_hide_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def refuse_first_ones(place: Path) -> bool:
        tried.append(place.name)
        return place.name == tried_last

    async with staged(tmp_path, writing) as stage:
        for number in range(3):
            run = await stage.do("x", session=f"main:test:{number}")
            await stage.store.sessions.delete(run.spec.session, force=False)  # and nobody is told
        names = [one.name for one in await stage.store.workspaces.list_released()]
        tried_last = names[-1]
    monkeypatch.setattr(workspaces, "MAX_WORKSPACES_AT_ONCE", 1)
    monkeypatch.setattr(workspace_removal, "_remove_directory", refuse_first_ones)
    async with staged(tmp_path, writing) as stage, asyncio.timeout(PATIENCE):
        while await stage.store.workspaces.list_released(names[1]):
            await asyncio.sleep(0.005)

        assert tried == names
        left = [one.name for one in await stage.store.workspaces.list_released()]
        assert left == names[:1], "one at a time"


async def test_a_workspace_that_the_agent_names_is_never_removed(tmp_path: Path) -> None:
    (own := tmp_path / "own").mkdir()
    async with staged(tmp_path, writing, agents={"main": {"workspace": str(own)}}) as stage:
        run = await stage.do("one")
        await stage.engine.sessions.delete_session(run.spec.session, force=False)
        await stage.do("two", keeps_workspace=False)

        assert written(own) == ["one", "two"]
        assert directories(stage) == []


async def test_a_named_workspace_that_is_missing_is_an_agent_error(tmp_path: Path) -> None:
    async with staged(tmp_path, writing, agents={"main": {"workspace": str(tmp_path / "none")}}) as stage:
        run = await stage.do()

    assert "is not a directory" in (run.error or "")
