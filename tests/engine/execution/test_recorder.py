"""The recorder stores what an attempt says: in batches, completely, and with bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.event import AnyEventData, BackendEvent, Log, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.ports.backend import FullReply
from gateway.domain.ports.run_store import Fenced
from gateway.domain.run import FinishReason, Run, Status
from gateway.engine import storage_retry
from gateway.engine.execution import recorder
from gateway.engine.execution.recorder import MAX_EVENT_CHARACTERS, MAX_UNWRITTEN_CHARACTERS, Recorder
from gateway.errors import AgentError, StorageFull
from harness.waiting import until
from tests.contracts.stores import spec
from tests.support.hurrying import Hurry

pytestmark = pytest.mark.both_stores


class Disk:
    """A store whose appends wait, or fail, when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[AnyEventData]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.errors: list[Exception] = []
        self.asked = 0

    @property
    def events(self) -> Disk:
        return self

    @property
    def runs(self) -> Disk:
        return self

    async def append(self, run_id: str, epoch: int, said: Sequence[AnyEventData]) -> None:
        self.asked += 1
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append(list(said))

    async def save_backend_ref(self, run_id: str, epoch: int, backend_ref: str) -> None: ...

    @property
    def said(self) -> list[AnyEventData]:
        return [happening for batch in self.batches for happening in batch]


@pytest.fixture
async def disk() -> Disk:
    return Disk()


def record(disk: Disk, tmp_path: Path, limit: int = 1 << 30, **more: Any) -> Recorder:
    run = Run(id="run-1", seq=1, spec=spec(), status=Status.RUNNING, epoch=1, created=0)
    store: Any = disk
    return Recorder(
        store, run, backend="b", outputs=tmp_path / "outputs", limit=limit, fenced=more.get("fenced", lambda: None)
    )


def text_of(said: Sequence[AnyEventData]) -> str:
    return "".join(happening.delta for happening in said if isinstance(happening, Text))


async def test_small_pieces_become_few_events(disk: Disk, tmp_path: Path) -> None:
    ear = record(disk, tmp_path)
    for number in range(1000):
        await ear.record_output(Text(delta=f"{number} "))
    rest = await ear.close()

    assert len(disk.said) + len(rest) < 10
    assert text_of([*disk.said, *rest]) == ear.current_reply == "".join(f"{number} " for number in range(1000))


async def test_text_is_written_even_if_nothing_follows(disk: Disk, tmp_path: Path) -> None:
    ear = record(disk, tmp_path)
    await ear.record_output(Text(delta="hello"))

    await until(lambda: disk.said, "the text is written")

    assert await ear.close() == []


async def test_events_of_different_kinds_keep_their_order(disk: Disk, tmp_path: Path) -> None:
    ear = record(disk, tmp_path)
    said: list[BackendEvent] = [Text(delta="a"), Thinking(delta="b"), Text(delta="c"), Usage(input=1), Text(delta="d")]
    for one in said:
        await ear.record_output(one)

    assert [*disk.said, *await ear.close()] == said
    assert (ear.current_reply, ear.usage) == ("acd", Usage(input=1))


async def test_a_long_text_is_cut_into_events_of_64_kib(disk: Disk, tmp_path: Path) -> None:
    ear = record(disk, tmp_path)
    whole = "".join(chr(65 + number % 26) for number in range(3 * MAX_EVENT_CHARACTERS + 5))
    await ear.record_output(Text(delta=whole))
    said = [*disk.said, *await ear.close()]

    assert text_of(said) == whole
    assert max(len(happening.delta) for happening in said if isinstance(happening, Text)) <= MAX_EVENT_CHARACTERS


async def test_a_large_output_goes_to_a_file(disk: Disk, tmp_path: Path) -> None:
    ear = record(disk, tmp_path)
    await ear.record_output(ToolEnd(id="1", name="ls", output="x" * (MAX_EVENT_CHARACTERS + 1) + "\ud800"))
    (said,) = await ear.close()

    assert isinstance(said, ToolEnd)
    assert len(said.output) < 3000
    assert Path(said.output_file).read_text() == "x" * (MAX_EVENT_CHARACTERS + 1) + "?"


async def test_if_the_file_cannot_be_written_only_the_rest_of_the_output_is_lost(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("in the way")
    ear = record(disk, tmp_path)
    await ear.record_output(ToolEnd(id="1", name="ls", output="x" * (MAX_EVENT_CHARACTERS + 1)))
    (said,) = await ear.close()

    assert isinstance(said, ToolEnd)
    assert said.output_file == ""


async def test_large_arguments_and_log_messages_are_shortened(disk: Disk, tmp_path: Path) -> None:
    ear = record(disk, tmp_path)
    await ear.record_output(Tool(id="1", name="write", args={"content": "x" * MAX_EVENT_CHARACTERS}))
    await ear.record_output(Log(level="info", message="x" * (2 * MAX_EVENT_CHARACTERS)))
    tool, remark = await ear.close()

    assert isinstance(tool, Tool)
    assert "too large" in tool.args
    assert isinstance(remark, Log)
    assert len(remark.message) <= MAX_EVENT_CHARACTERS + 1


@pytest.mark.parametrize("said", [Text(delta="x" * 11), FullReply("x" * 11)])
async def test_an_answer_beyond_the_limit_is_an_error(disk: Disk, tmp_path: Path, said: Text | FullReply) -> None:
    ear = record(disk, tmp_path, limit=10)

    with pytest.raises(AgentError, match=r"limits\.output"):
        await ear.record_output(said)

    await ear.close()
    assert ear.current_reply == ""


async def test_an_agent_waits_for_a_slow_disk(disk: Disk, tmp_path: Path) -> None:
    disk.open.clear()
    ear = record(disk, tmp_path)
    heard = 0

    async def talk() -> None:
        nonlocal heard
        for _ in range(200):
            await ear.record_output(Text(delta="x" * 50_000))
            heard += 50_000

    talking = asyncio.create_task(talk())
    await until(lambda: disk.asked, "it writes")
    await asyncio.wait({talking}, timeout=0.2)
    held = heard
    disk.open.set()
    await talking

    assert held <= 3 * MAX_UNWRITTEN_CHARACTERS
    assert len(text_of([*disk.said, *await ear.close()])) == 200 * 50_000


async def test_an_agent_with_many_events_without_text_waits_too(disk: Disk, tmp_path: Path) -> None:
    disk.open.clear()
    ear = record(disk, tmp_path)
    heard: list[int] = []

    async def talk() -> None:
        for number in range(10_000):
            await ear.record_output(Tool(id=str(number), name="t", args={"x": "y" * 10_000}))
            heard.append(number)

    talking = asyncio.create_task(talk())
    await until(lambda: disk.asked, "it writes")
    await asyncio.wait({talking}, timeout=0.2)
    talking.cancel()
    disk.open.set()
    await ear.close()

    assert len(heard) <= 3 * MAX_UNWRITTEN_CHARACTERS / 10_000


async def test_a_disk_that_refuses_is_asked_again(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_retry, "STORAGE_RETRY_SECONDS", 0.01)
    disk.errors = [StorageFull(), StorageFull()]
    ear = record(disk, tmp_path)
    await ear.record_output(Text(delta="one"))
    await until(lambda: disk.said, "it is written")
    await ear.record_output(Text(delta="two"))

    assert text_of([*disk.said, *await ear.close()]) == "onetwo"


async def test_nothing_is_written_twice_when_the_attempt_ends_during_a_write(disk: Disk, tmp_path: Path) -> None:
    disk.open.clear()
    ear = record(disk, tmp_path)
    await ear.record_output(Text(delta="one"))
    await until(lambda: disk.asked, "it writes")
    await ear.record_output(Text(delta="two"))
    closing = asyncio.create_task(ear.close())
    disk.open.set()
    rest = await closing

    assert (text_of(disk.said), text_of(rest)) == ("one", "two")


async def test_nothing_is_written_after_the_close(disk: Disk, tmp_path: Path, hurry: Hurry) -> None:
    ear = record(disk, tmp_path)
    await ear.record_output(Text(delta="one"))
    rest = await ear.close()
    hurry(2 * recorder.GATHER_SECONDS)
    for _ in range(3):  # the timer, the task that it would start, and its call
        await asyncio.sleep(0)

    assert (text_of(rest), disk.asked) == ("one", 0)


async def test_how_a_round_ended_is_not_told_of_the_next(disk: Disk, tmp_path: Path) -> None:
    ear = record(disk, tmp_path)
    for said in (Text(delta="one"), Usage(input=1), FinishReason.LENGTH, Log(level="info", message="it stops here")):
        await ear.record_output(said)
    before = ear.current_reply, ear.usage, ear.finish, ear.last_remark
    ear.start_next_round()
    await ear.close()

    assert before == ("one", Usage(input=1), FinishReason.LENGTH, "it stops here")
    assert (ear.current_reply, ear.usage, ear.finish, ear.last_remark) == ("", Usage(), FinishReason.STOP, "")


async def test_a_fenced_attempt_is_interrupted(disk: Disk, tmp_path: Path) -> None:
    told: list[bool] = []
    disk.errors = [Fenced("run-1")]
    ear = record(disk, tmp_path, fenced=lambda: told.append(True))
    await ear.record_output(Text(delta="one"))

    await until(lambda: told, "it is told")
    await ear.close()


async def test_a_cancelled_close_ends_the_write_too(disk: Disk, tmp_path: Path) -> None:
    disk.open.clear()
    ear = record(disk, tmp_path)
    await ear.record_output(Text(delta="one"))
    await until(lambda: disk.asked, "it writes")
    closing = asyncio.create_task(ear.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.sleep(0)

    assert [task for task in asyncio.all_tasks() if task.get_name() == "record"] == []


def test_an_unwritten_event_has_a_size() -> None:
    assert recorder._normalize_event(Usage())[1] > 0
