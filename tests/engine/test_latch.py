"""A latch tells all of its listeners, and ends timeouts."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from gateway.api.early_end import end_now
from gateway.engine.latch import Latch


def test_a_listener_that_fails_keeps_no_other_from_being_told() -> None:
    latch = Latch()
    told: list[int] = []

    def fail() -> None:
        raise RuntimeError("a fault")

    listeners = [fail, *(partial(told.append, number) for number in range(5))]
    scopes = [latch.notify_listener(listener) for listener in listeners]
    for scope in scopes:
        scope.__enter__()

    with pytest.raises(RuntimeError, match="a fault"):
        latch.set()

    assert sorted(told) == [0, 1, 2, 3, 4]


async def test_a_timeout_that_has_ended_by_itself_can_be_ended_again() -> None:
    latch = Latch()
    deadline = asyncio.timeout(0)

    async def wait() -> None:
        async with deadline:
            with latch.notify_listener(partial(end_now, deadline)):
                try:
                    await asyncio.sleep(60)
                finally:
                    latch.set()  # as if a token were revoked at the moment in which it expires

    with pytest.raises(TimeoutError):
        await wait()
    assert deadline.expired()
