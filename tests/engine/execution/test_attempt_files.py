"""The files that an agent is given and makes, from the start of its run to the end that is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.delivery import WEBHOOK_KIND, Target
from gateway.domain.event import Log, MadeFile, Text
from gateway.domain.file import FileLimits
from gateway.domain.ports.backend import NewFile, Turn
from gateway.domain.run import Mode, Run, Status
from gateway.engine.file_staging import Staging
from gateway.errors import AgentError, StorageFull
from harness.waiting import until
from tests.contracts.stores import spec
from tests.engine.stage import Anything, Stage, staged

NOTE = "(Files that you write into {} are sent to the user.)"


async def drawing(turn: Turn) -> AsyncGenerator[Anything, None]:
    """Leave a chart in the outbox, and yield a picture; with `fail`, fail then."""
    (Path(turn.outbox) / "chart.csv").write_text("1,2")
    yield NewFile(name="../picture.png", media_type="image/png", content=b"not a picture")
    yield Text(delta="drawn" if turn.round == 1 else "drawn GOAL_COMPLETE")
    if turn.input.startswith("fail"):
        raise AgentError("told to fail")


def made(run: Run) -> list[tuple[str, str, int]]:
    return [(file.name, file.media_type, file.size) for file in run.files]


BOTH = [("picture.png", "text/plain", 13), ("chart.csv", "text/csv", 3)]


async def outbox_of(stage: Stage) -> Path:
    [workspace] = (stage.directory / "workspaces").iterdir()
    return workspace / "outbox"


@pytest.mark.parametrize("text", ["hello", "fail"])
async def test_what_an_agent_makes_is_stored_with_the_end_of_its_run_however_that_ends(
    tmp_path: Path, text: str
) -> None:
    async with staged(tmp_path, drawing) as stage:
        run = await stage.do(text)
        events = [event.data for event in await stage.engine.runs.read_events(run.id, 0, 100)]
        outbox = await outbox_of(stage)
        await until(lambda: not list(outbox.iterdir()), "the outbox is empty")

        assert made(run) == BOTH
        assert [one.name for one in events if isinstance(one, MadeFile)] == [name for name, *_ in BOTH]
        assert [await stage.engine.files.read_content(file) for file in run.files] == [b"not a picture", b"1,2"]
        assert [(await stage.engine.files.get_file(file.id)).uses for file in run.files] == [
            2 if text == "hello" else 1
        ] * 2


async def test_what_an_agent_makes_is_kept_above_the_quota(tmp_path: Path) -> None:
    async with staged(tmp_path, drawing, file_limits=FileLimits(quota=2)) as stage:
        run = await stage.do()
        with pytest.raises(StorageFull):
            async with stage.engine.files.open_staging() as given:
                await given.add_bytes(b"more")

    assert made(run) == BOTH


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_file_that_cannot_be_kept_stays_in_the_outbox_and_the_log_says_where(
    tmp_path: Path, is_shared: bool
) -> None:
    async def writing(turn: Turn) -> AsyncGenerator[Anything, None]:
        (Path(turn.outbox) / "deep").mkdir()
        for name, size in (("deep/small.txt", 3), ("deep/large.txt", 20), ("small.txt", 2)):
            (Path(turn.outbox) / name).write_text("x" * size)
        yield Text(delta="done")

    (workspace := tmp_path / "workspace").mkdir()
    fields = {"main": {"workspace": str(workspace)}} if is_shared else None
    async with staged(tmp_path / "home", writing, agents=fields, file_limits=FileLimits(size=10)) as stage:
        run = await stage.do()
        events = [event.data for event in await stage.engine.runs.read_events(run.id, 0, 100)]
        outbox = Path(stage.backend.turns[0].outbox)

    assert sorted(file.size for file in run.files) == [2, 3]
    assert sorted(path.name for path in outbox.rglob("*") if path.is_file()) == ["large.txt"]
    told = next(one.message for one in events if isinstance(one, Log))
    assert told.startswith(f"files of the agent that are not kept stay in {outbox}")


async def test_the_rounds_of_a_goal_fill_one_outbox(tmp_path: Path) -> None:
    async with staged(tmp_path, drawing) as stage:
        run = await stage.do(mode=Mode.GOAL, max_rounds=2)

        assert made(run) == [BOTH[0], BOTH[0], BOTH[1]]


async def test_files_of_a_round_that_is_not_repeated_are_kept_when_the_gateway_stops_in_the_next_one(
    tmp_path: Path,
) -> None:
    async def pursuing(turn: Turn) -> AsyncGenerator[Anything, None]:
        if turn.round == 1:
            (Path(turn.outbox) / "chart.csv").write_text("1,2")
            yield NewFile(name="first.txt", media_type="", content=b"one")
            yield Text(delta="more")
            return
        yield NewFile(name="second.txt", media_type="", content=b"two")
        yield Text(delta="second")
        if turn.attempt == 1:
            await asyncio.Event().wait()
        yield Text(delta="\nGOAL_COMPLETE")

    async with staged(tmp_path, pursuing) as stage:
        begun = await stage.submit(mode=Mode.GOAL)
        async for event in stage.engine.runs.watch_run(begun.id):
            if event.data == Text(delta="second"):
                break
        assert [file.name for file in (await stage.store.runs.get(begun.id)).files] == ["first.txt"]
    async with staged(tmp_path, pursuing) as stage:
        run = await stage.ended(begun)
        events = [event.data for event in await stage.engine.runs.read_events(run.id, 0, 100)]

        assert (run.attempt, run.status) == (2, Status.SUCCEEDED)
        assert [file.name for file in run.files] == ["first.txt", "second.txt", "chart.csv"]
        assert [one.id for one in events if isinstance(one, MadeFile)] == [file.id for file in run.files]
        assert [await stage.engine.files.read_content(file) for file in run.files] == [b"one", b"two", b"1,2"]
        assert [(await stage.engine.files.get_file(file.id)).uses for file in run.files] == [2] * 3


async def test_a_link_in_the_outbox_is_not_followed_and_the_log_says_so(tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_text("x")

    async def linking(turn: Turn) -> AsyncGenerator[Anything, None]:
        (Path(turn.outbox) / "link").symlink_to(secret)
        yield Text(delta="done")

    async with staged(tmp_path / "home", linking) as stage:
        run = await stage.do()
        events = [event.data for event in await stage.engine.runs.read_events(run.id, 0, 100)]

        assert (run.result, made(run)) == ("done", [])
        assert "outbox: 'link' is not a file." in [one.message for one in events if isinstance(one, Log)]


@pytest.mark.parametrize("in_place", ["file", "link"])
async def test_an_agent_works_in_a_workspace_in_which_no_outbox_can_be_made(tmp_path: Path, in_place: str) -> None:
    (workspace := tmp_path / "workspace").mkdir()
    if in_place == "file":
        (workspace / "outbox").write_text("mine")
    else:
        (workspace / "outbox").symlink_to(tmp_path)

    async with staged(tmp_path / "home", agents={"main": {"workspace": str(workspace)}}) as stage:
        run = await stage.do("hi", wants_files=True)
        events = [event.data for event in await stage.engine.runs.read_events(run.id, 0, 100)]

    assert (run.result, run.attempt) == ("echo: hi", 1)
    (told,) = [one.message for one in events if isinstance(one, Log)]
    assert told.startswith(f"the agent could not leave files in {workspace / 'outbox' / run.id.lower()}: ")


async def test_a_run_whose_files_cannot_be_put_into_its_workspace_fails_at_once_and_says_so(tmp_path: Path) -> None:
    (workspace := tmp_path / "workspace").mkdir()
    (workspace / "attachments").write_text("mine")

    async with (
        staged(tmp_path / "home", agents={"main": {"workspace": str(workspace)}}) as stage,
        stage.engine.files.open_staging() as given,
    ):
        await given.add_bytes(b"1", name="a.txt")
        accepted = await stage.engine.runs.submit_run(spec(attachments=given.files), staged=given.staged)
        run = await stage.ended(accepted.run)

    assert (run.status, run.attempt) == (Status.FAILED, 1)
    assert str(run.error).startswith("cannot put the attached files into the workspace: ")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, False),
        ({"deliver": (Target(kind=WEBHOOK_KIND, address="http://127.0.0.1:1/x"),)}, False),
        ({"deliver": (Target(kind="telegram", address="7", format="chat"),)}, True),
        ({"wants_files": True}, True),
    ],
)
async def test_an_agent_is_told_of_its_outbox_if_somebody_wants_files(
    tmp_path: Path, fields: dict[str, Any], told: bool
) -> None:
    async with staged(tmp_path, drawing) as stage:
        await stage.do(**fields)
        [turn] = stage.backend.turns

        assert turn.input == ("hello\n\n" + NOTE.format(turn.outbox) if told else "hello")


async def test_agents_that_share_a_workspace_have_an_outbox_for_each_run_and_leave_nothing_there(
    tmp_path: Path,
) -> None:
    (own := tmp_path / "own").mkdir()
    async with staged(tmp_path / "home", drawing, agents={"main": {"workspace": str(own)}}) as stage:
        first, second = await stage.do("one"), await stage.do("two", session="main:test:b")
        await until(lambda: not list(own.iterdir()), "nothing is left")

        assert made(first) == made(second) == BOTH
        assert [turn.outbox for turn in stage.backend.turns] == [
            str(own / "outbox" / run.id.lower()) for run in (first, second)
        ]


async def test_a_run_that_makes_no_files_has_nothing_to_forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Staging] = []
    close = Staging.close

    async def note(staging: Staging) -> None:
        closed.append(staging)
        await close(staging)

    monkeypatch.setattr(Staging, "close", note)
    async with staged(tmp_path, drawing) as stage:
        await stage.do()
    async with staged(tmp_path / "other") as stage:
        await stage.do()

    assert len(closed) == 1
