"""Tells how long each tool of a turn has worked, whatever the backend."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from gateway.domain.event import Tool, ToolEnd
from gateway.domain.ports.backend import TurnOutput

#: calls whose start is remembered; the oldest one is forgotten when there are more
MAX_TIMED_CALLS = 1024


async def time_tools(saying: AsyncGenerator[TurnOutput, None]) -> AsyncGenerator[TurnOutput, None]:
    """Yield the events of a turn; the end of a tool says how long the tool has worked. Closes `saying`."""
    started: dict[str, float] = {}
    async with aclosing(saying):
        async for said in saying:
            match said:
                case Tool(id=call):
                    if len(started) >= MAX_TIMED_CALLS:
                        del started[next(iter(started))]
                    started[call] = time.monotonic()
                case ToolEnd(id=call, seconds=None) if call in started:
                    took = time.monotonic() - started.pop(call)
                    said = msgspec.structs.replace(said, seconds=round(took, 3))
            yield said
