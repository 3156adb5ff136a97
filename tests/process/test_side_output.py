"""What a program writes next to its answer: which lines are shown, how many, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.process.side_output import (
    LINE_INTERVAL_SECONDS,
    MAX_LINE_BYTES,
    MAX_LINES,
    MAX_LINES_AT_ONCE,
    MAX_LINES_PER_PIECE,
    SideOutput,
    mix_in,
)
from harness.waiting import PATIENCE


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def show_lines(*pieces: bytes) -> list[str]:
    side = SideOutput()
    for piece in pieces:
        side.feed(piece)
    return side.take_lines()


def test_a_line_is_shown_when_its_end_comes() -> None:
    side = SideOutput()
    side.feed(b"it wai")
    assert side.take_lines() == []

    side.feed(b"ts\nand")

    assert side.take_lines() == ["it waits"]


def test_a_line_is_shown_as_a_terminal_would_show_it() -> None:
    assert show_lines(b"\x1b]0;title\x07\x1b[31m10 %\r100 %\x1b[0m done\n") == ["100 % done"]


def test_a_line_that_shows_nothing_is_left_out() -> None:
    assert show_lines(b"\n\x1b[2K\r\n \r\n\xe2\x80\x8b\n") == []


def test_the_same_line_is_shown_once() -> None:
    assert show_lines(b"2026-01-01T00:00:00Z WARN busy\n2026-01-01T00:00:09Z WARN busy\n") == ["busy"]


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-29T06:15:06.010Z] [WARN] it fails",
        "2026-11-29 06:15:06,010 - WARNING: it fails",
        "2026-11-29T06:16:36.256702Z ERROR it fails",
        "06:16:36 | error | it fails",
        "[error] it fails",
        "ERROR: it fails",
        "it fails",
    ],
)
def test_the_time_and_the_level_before_a_line_are_left_out(line: str) -> None:
    assert show_lines(line.encode() + b"\n") == ["it fails"]


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-29T06:15:06.010Z] [DEBUG] it works",
        "2026-11-29T06:16:36.256702Z  INFO it works",
        "debug: it works",
        'time=2026-11-29T06:16:36Z level=info msg="it works"',
        "[session/create] sessionId=1 phase=settings durationMs=2",
        "phase=settings durationMs=2",
        "});",
        "    at process (index.js:1:2)",
        "\tit goes on",
    ],
)
def test_routine_is_left_out(line: str) -> None:
    assert show_lines(line.encode() + b"\n") == []


@pytest.mark.parametrize(
    "line",
    [
        "Information is missing",
        "logged out",
        "errors=3",
        "log in first",
        "level=error why=full",
        "[ok] done",
        "12:00 is late",
    ],
)
def test_a_line_that_only_begins_like_routine_is_shown(line: str) -> None:
    assert show_lines(line.encode() + b"\n") == [line]


def test_the_end_of_a_long_line_is_left_out() -> None:
    assert show_lines(b"x" * MAX_LINE_BYTES, b"y" * 100_000, b"z\nnext\n") == ["x" * MAX_LINE_BYTES, "next"]


def test_the_end_of_a_long_line_of_text_is_left_out() -> None:
    side = SideOutput()

    side.read_line("x" * 2 * MAX_LINE_BYTES)

    assert side.take_lines() == ["x" * MAX_LINE_BYTES]


def test_too_many_lines_are_left_out_and_counted() -> None:
    clock = Clock()
    side = SideOutput(clock=clock)
    side.feed(b"".join(b"line %d\n" % number for number in range(MAX_LINES_AT_ONCE + 7)))
    assert side.take_lines() == [f"line {number}" for number in range(MAX_LINES_AT_ONCE)]

    clock.now += LINE_INTERVAL_SECONDS
    side.feed(b"after\nlate\n")

    assert side.take_lines() == ["after (after 7 lines that are left out)"]


def test_of_a_flood_only_some_lines_are_examined() -> None:
    examined: list[str] = []
    side = SideOutput(lambda line: str(examined.append(line) or ""), Clock())

    side.feed(b"".join(b"%d\n" % number for number in range(3 * MAX_LINES_PER_PIECE)))
    side.feed(b"the end\n")

    assert len(examined) == MAX_LINES_PER_PIECE + 1
    assert examined[-1] == "the end"


def test_a_turn_has_a_limit_of_lines() -> None:
    clock = Clock()
    side = SideOutput(clock=clock)
    for number in range(2 * MAX_LINES):
        side.feed(b"line %d\n" % number)
        clock.now += LINE_INTERVAL_SECONDS

    assert len(side.take_lines()) == MAX_LINES


def test_a_line_is_shown_as_it_is_rewritten() -> None:
    side = SideOutput(lambda line: "" if line == "known" else f"<{line}>")
    side.feed(b"known\nnew\n")

    assert side.take_lines() == ["<new>"]


class Output:
    """A generator that yields what it is given, and says whether it was closed."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self.is_closed = False

    async def stream(self) -> AsyncGenerator[str, None]:
        try:
            while (said := await self.given.get()) is not None:
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            self.is_closed = True


async def test_a_line_comes_while_the_output_is_silent() -> None:
    output, side = Output(), SideOutput()
    mixed = mix_in(output.stream(), side, "<{}>".format)
    async with asyncio.timeout(PATIENCE):
        coming = asyncio.ensure_future(anext(mixed))
        await asyncio.sleep(0)
        side.feed(b"it tries again\n")
        assert await coming == "<it tries again>"

        output.given.put_nowait("answer")
        assert await anext(mixed) == "answer"

        output.given.put_nowait(None)
        assert [said async for said in mixed] == []
    assert output.is_closed


async def test_lines_come_before_the_end_of_the_output() -> None:
    output, side = Output(), SideOutput()
    side.feed(b"one\n")
    output.given.put_nowait(None)

    assert [said async for said in mix_in(output.stream(), side, str)] == ["one"]


async def test_lines_come_before_the_error_of_the_output() -> None:
    output, side = Output(), SideOutput()
    side.feed(b"one\n")
    output.given.put_nowait(ValueError("it failed"))
    mixed = mix_in(output.stream(), side, str)

    assert await anext(mixed) == "one"
    with pytest.raises(ValueError, match="it failed"):
        await anext(mixed)


async def test_a_side_output_can_end_the_output_with_an_error() -> None:
    output, side = Output(), SideOutput()
    mixed = mix_in(output.stream(), side, str)
    side.feed(b"refused\n")
    side.fail(ValueError("it is hopeless"))

    async with asyncio.timeout(PATIENCE):
        assert await anext(mixed) == "refused"
        with pytest.raises(ValueError, match="it is hopeless"):
            await anext(mixed)
    assert output.is_closed


async def test_closing_it_closes_the_output() -> None:
    output = Output()
    output.given.put_nowait("answer")
    mixed = mix_in(output.stream(), SideOutput(), str)
    await anext(mixed)

    await mixed.aclose()

    assert output.is_closed


async def test_a_cancel_while_the_output_is_silent_closes_it() -> None:
    output = Output()
    waiting = asyncio.ensure_future(anext(mix_in(output.stream(), SideOutput(), str)))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait({waiting}, timeout=PATIENCE)

    assert waiting.cancelled()
    assert output.is_closed


@pytest.mark.parametrize("by_side_output", [False, True])
async def test_what_the_output_says_when_it_is_cancelled_is_passed_on(by_side_output: bool) -> None:
    side, begun = SideOutput(), asyncio.Event()
    said: asyncio.Queue[str] = asyncio.Queue()

    async def stream() -> AsyncGenerator[str, None]:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "it has cost 3"
            raise

    async def listen() -> None:
        async for one in mix_in(stream(), side, str):
            said.put_nowait(one)

    listening = asyncio.ensure_future(listen())
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        if by_side_output:
            side.fail(ValueError("it is hopeless"))
        else:
            listening.cancel()
        await asyncio.wait({listening})

    assert said.get_nowait() == "it has cost 3"
    assert listening.cancelled() or listening.exception() is not None


@pytest.mark.parametrize("steps", range(8))
async def test_a_cancel_in_the_moment_in_which_the_output_says_something_is_not_lost(steps: int) -> None:
    speak, said = asyncio.Event(), []

    async def stream() -> AsyncGenerator[str, None]:
        try:
            yield "begun"
            await speak.wait()
            yield "word"
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "it has cost 3"
            raise

    async def listen() -> None:
        async for one in mix_in(stream(), SideOutput(), str):
            said.append(one)  # noqa: PERF401 each one at once

    listening = asyncio.ensure_future(listen())
    async with asyncio.timeout(PATIENCE):
        while not said:
            await asyncio.sleep(0)
        speak.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        listening.cancel()
        await asyncio.wait({listening})

    assert listening.cancelled()
    assert [one for one in said if one != "word"] == ["begun", "it has cost 3"]
    assert said.count("word") <= 1


async def test_a_cancel_before_the_output_is_asked_for_more_is_not_lost() -> None:
    said = []

    async def stream() -> AsyncGenerator[str, None]:
        try:
            yield "begun"
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "it has cost 3"
            raise

    async def listen() -> None:
        async for one in mix_in(stream(), SideOutput(), str):
            said.append(one)
            if one == "begun":
                asyncio.get_running_loop().call_soon(listening.cancel)

    listening = asyncio.ensure_future(listen())
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait({listening})

    assert listening.cancelled()
    assert said == ["begun", "it has cost 3"]


async def test_an_error_that_comes_with_a_word_of_the_output_ends_it() -> None:
    side, said, ended = SideOutput(), [], []

    async def stream() -> AsyncGenerator[str, None]:
        try:
            side.fail(ValueError("it is hopeless"))
            yield "word"
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def listen() -> None:
        async for one in mix_in(stream(), side, str):
            said.append(one)  # noqa: PERF401 each one at once

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ValueError, match="hopeless"):
            await listen()

    assert (said, ended) == (["word"], [True])
