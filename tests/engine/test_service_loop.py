"""The loop of a service: steps, sleeps, wakes, errors and stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from gateway.engine.service_loop import ServiceLoop, Step, log_errors
from gateway.errors import Unavailable
from harness.waiting import until
from tests.support.hurrying import Hurry

HOUR = 3600.0


@asynccontextmanager
async def started(step: Step, *, delay: float = 0.0, retry_seconds: float = HOUR) -> AsyncIterator[ServiceLoop]:
    loop = ServiceLoop("test", step, log_errors("test.waits", "test.broke", about="a"), retry_seconds=retry_seconds)
    loop.start(delay)
    try:
        yield loop
    finally:
        await loop.stop()


class Steps:
    """A step that counts how often it was begun, and then does what a test tells it."""

    def __init__(self, *acts: Callable[[], float | None], gate: asyncio.Event | None = None) -> None:
        self.begun = 0
        self.cancelled = 0
        self._acts = list(acts)
        self._gate = gate

    async def __call__(self) -> float | None:
        self.begun += 1
        try:
            if self._gate is not None:
                await self._gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self._acts.pop(0)() if self._acts else HOUR


def raising(error: Exception) -> Callable[[], float]:
    def act() -> float:
        raise error

    return act


async def settle() -> None:
    """Let whatever could run now do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_step_is_repeated_after_the_seconds_that_it_returns() -> None:
    steps = Steps(lambda: 0.001, lambda: 0.0, lambda: -1.0)
    async with started(steps):
        await until(lambda: steps.begun == 4, "three steps have asked for another one")


async def test_a_loop_sleeps_until_a_step_is_due() -> None:
    steps = Steps()
    async with started(steps):
        await asyncio.sleep(0.02)

    assert steps.begun == 1


async def test_a_loop_that_sleeps_is_woken() -> None:
    steps = Steps()
    async with started(steps) as loop:
        await settle()
        loop.wake()
        await settle()

    assert steps.begun == 2


async def test_a_wake_during_a_step_is_not_lost_and_several_count_once() -> None:
    gate = asyncio.Event()
    steps = Steps(gate=gate)
    async with started(steps) as loop:
        await settle()
        loop.wake()
        loop.wake()
        gate.set()
        await settle()

    assert steps.begun == 2


async def test_the_first_step_can_be_delayed_and_a_wake_ends_the_delay() -> None:
    steps = Steps()
    async with started(steps, delay=HOUR) as loop:
        await settle()
        before = steps.begun
        loop.wake()
        await settle()

    assert (before, steps.begun) == (0, 1)


async def test_a_step_can_end_the_loop() -> None:
    steps = Steps(lambda: None)
    async with started(steps) as loop:
        await settle()
        loop.wake()
        await settle()

    assert steps.begun == 1


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (Unavailable("full"), {"event": "test.waits", "log_level": "warning", "error": "full"}),
        (ZeroDivisionError("oh"), {"event": "test.broke", "log_level": "error"}),
    ],
)
async def test_a_step_that_fails_is_logged_and_retried(error: Exception, logged: dict[str, Any]) -> None:
    steps = Steps(raising(error))
    with structlog.testing.capture_logs() as lines:
        async with started(steps, retry_seconds=0.001):
            await until(lambda: steps.begun == 2, "it is retried")

    (line,) = lines
    assert line.pop("exc_info", error) is error
    assert line == {**logged, "about": "a"}


async def test_our_own_errors_can_be_logged_like_bugs() -> None:
    error = Unavailable("full")
    with structlog.testing.capture_logs() as lines:
        log_errors("test.broke", all_as_bugs=True, about="a")(error)

    assert lines == [{"event": "test.broke", "log_level": "error", "exc_info": error, "about": "a"}]


async def test_a_step_that_fails_is_not_retried_at_once_unless_somebody_wakes_the_loop() -> None:
    steps = Steps(raising(Unavailable("full")), raising(Unavailable("full")))
    async with started(steps) as loop:
        await asyncio.sleep(0.02)
        before = steps.begun
        loop.wake()
        await settle()

    assert (before, steps.begun) == (1, 2)


async def test_a_stop_cancels_the_step_under_way_and_a_second_one_is_fine() -> None:
    steps = Steps(gate=asyncio.Event())
    async with started(steps) as loop:
        await settle()
        await asyncio.gather(loop.stop(), loop.stop())
        await loop.stop()
        loop.wake()
        await settle()

    assert (steps.begun, steps.cancelled) == (1, 1)


async def test_a_second_stop_waits_for_the_cleanup_of_the_step_and_does_not_interrupt_it() -> None:
    gate, cleaned = asyncio.Event(), list[str]()

    async def step() -> float:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.wait()
            cleaned.append("cleaned")
        return HOUR

    async with started(step) as loop:
        await settle()
        stops = [asyncio.create_task(loop.stop()) for _ in range(2)]
        await settle()
        assert not any(stop.done() for stop in stops)
        gate.set()
        await asyncio.gather(*stops)

    assert cleaned == ["cleaned"]


async def test_a_loop_that_was_never_started_can_be_stopped_and_finished() -> None:
    loop = ServiceLoop("test", Steps(), log_errors("test.waits"))
    await loop.stop()
    await loop.finish_step(HOUR)


async def test_finishing_lets_the_step_under_way_end_and_starts_no_other() -> None:
    gate = asyncio.Event()
    steps = Steps(gate=gate)
    async with started(steps) as loop:
        await settle()
        await loop.finish_step(0.001)
        waiting = asyncio.create_task(loop.finish_step(HOUR))
        gate.set()
        await waiting

    assert (steps.begun, steps.cancelled) == (1, 0)


async def test_finishing_ends_a_sleep_at_once() -> None:
    steps = Steps()
    async with started(steps) as loop:
        await settle()
        await loop.finish_step(HOUR)

    assert steps.begun == 1


async def test_a_loop_that_was_finished_before_its_start_does_nothing() -> None:
    steps = Steps()
    loop = ServiceLoop("test", steps, log_errors("test.waits"))
    await loop.finish_step(0)
    loop.start()
    await settle()

    assert steps.begun == 0


async def test_a_loop_that_was_stopped_before_its_start_does_nothing() -> None:
    steps = Steps()
    loop = ServiceLoop("test", steps, log_errors("test.waits"))
    await loop.stop()
    loop.start(delay=HOUR)
    await settle()
    loop.wake()
    await settle()
    await loop.stop()

    assert steps.begun == 0


def swallow() -> float:
    return 0.0


@pytest.mark.parametrize("act", [swallow, raising(ValueError("cancelled")), raising(Unavailable("cancelled"))])
async def test_a_stop_ends_the_loop_though_the_step_catches_its_cancellation(act: Callable[[], float]) -> None:
    begun = 0

    async def step() -> float | None:
        nonlocal begun
        begun += 1
        if begun == 2:
            return None
        try:
            await asyncio.sleep(HOUR)
        except asyncio.CancelledError:
            return act()
        return HOUR

    async with started(step, retry_seconds=0.0):
        await settle()

    assert begun == 1


async def test_a_step_that_awaits_something_cancelled_is_logged_and_retried() -> None:
    begun = 0

    async def step() -> float:
        nonlocal begun
        begun += 1
        if begun == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        return HOUR

    with structlog.testing.capture_logs() as lines:
        async with started(step, retry_seconds=0.001):
            await until(lambda: begun == 2, "it is retried")

    (line,) = lines
    assert (line["event"], line["log_level"]) == ("test.broke", "error")
    assert isinstance(line["exc_info"].__cause__, asyncio.CancelledError)


async def test_a_log_that_cannot_be_written_does_not_end_the_loop() -> None:
    def log_error(error: Exception) -> None:
        raise OSError("the disk is full")

    steps = Steps(raising(ValueError()), raising(Unavailable("full")))
    loop = ServiceLoop("test", steps, log_error, retry_seconds=0.001)
    loop.start()
    try:
        await until(lambda: steps.begun == 3, "it is retried twice")
    finally:
        await loop.stop()


async def test_a_loop_tells_how_late_its_sleeps_have_ended(hurry: Hurry) -> None:
    steps = Steps(lambda: 10.0, lambda: 20.0)
    async with started(steps) as loop:
        await until(lambda: steps.begun == 1, "the first step")
        await settle()
        hurry(10.5)
        await until(lambda: steps.begun == 2, "the second step")
        await settle()
        hurry(23.0)
        await until(lambda: steps.begun == 3, "the third step")
        first, then = loop.take_longest_delay(), loop.take_longest_delay()

    assert 3.0 <= first < 60.0
    assert then == 0.0


async def test_a_sleep_that_somebody_ends_is_not_late(hurry: Hurry) -> None:
    steps = Steps()
    async with started(steps) as loop:
        await until(lambda: steps.begun == 1, "the first step")
        loop.wake()
        await until(lambda: steps.begun == 2, "the second step")
        assert loop.take_longest_delay() == 0.0
