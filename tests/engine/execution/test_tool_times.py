"""The end of a tool says how long the tool has worked."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gateway.domain.event import Text, Tool, ToolEnd
from gateway.domain.ports.backend import TurnOutput
from gateway.engine.execution import tool_times
from gateway.engine.execution.tool_times import time_tools


async def played(*said: TurnOutput) -> list[TurnOutput]:
    async def saying() -> AsyncGenerator[TurnOutput, None]:
        for one in said:
            yield one

    return [one async for one in time_tools(saying())]


async def test_an_end_has_the_seconds_since_the_start() -> None:
    [_, _, end] = await played(Tool(id="1", name="bash"), Text(delta="x"), ToolEnd(id="1", name="bash"))

    assert isinstance(end, ToolEnd)
    assert end.seconds is not None
    assert 0 <= end.seconds < 60


async def test_what_the_backend_says_itself_counts() -> None:
    own = ToolEnd(id="1", name="bash", seconds=7.5)

    assert (await played(Tool(id="1", name="bash"), own))[-1] == own


async def test_an_end_without_a_start_has_no_time() -> None:
    assert await played(ToolEnd(id="1", name="bash")) == [ToolEnd(id="1", name="bash")]


async def test_the_starts_that_are_remembered_are_bounded() -> None:
    begun = [Tool(id=str(number), name="bash") for number in range(tool_times.MAX_TIMED_CALLS + 1)]

    [*_, first, last] = await played(*begun, ToolEnd(id="0", name="bash"), ToolEnd(id="1", name="bash"))

    assert isinstance(first, ToolEnd)
    assert first.seconds is None
    assert isinstance(last, ToolEnd)
    assert last.seconds is not None
