"""One hostile turn in a separate process, so that its memory can be measured.

`python -m tests.contracts.measure` reads its task from standard input, and prints the agent's error,
the peak growth of the process in bytes, the duration in seconds, and the answer of the next turn.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from gateway.backends import BackendResources, find_backends
from gateway.domain.agent import Agent
from gateway.domain.event import Text
from gateway.domain.ports.backend import Backend
from gateway.errors import AgentError
from gateway.process.child import Children
from gateway.process.scratch import ScratchSpace
from tests.support.ledger import MemoryLedger
from tests.support.turns import turn


def _memory(name: str) -> int | None:
    """Return a value of /proc/self/status in bytes; see proc(5)."""
    if sys.platform != "linux":
        return None
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))


def _forget_largest() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


async def _take(backend: Backend, agent: Agent, prompt: str, directory: str) -> tuple[str, str | None]:
    """Run a turn, and return the end of the answer and the agent's error; nothing else is kept in memory."""
    answer = ""
    try:
        async with aclosing(backend.stream_turn(turn(agent, prompt, workspace=directory))) as stream:  # type: ignore[type-var]
            async for said in stream:
                answer = (answer + said.delta)[-1000:] if isinstance(said, Text) else answer
    except AgentError as error:
        return answer, str(error)
    return answer, None


async def main() -> None:
    wanted: dict[str, Any] = json.load(sys.stdin)
    agent = msgspec.convert(wanted["agent"], Agent)
    kind = find_backends()[agent.backend]
    agent = msgspec.structs.replace(agent, options=msgspec.convert(agent.options, kind.options))
    directory, prompts = wanted["directory"], wanted["prompts"]
    children = Children(MemoryLedger(), wanted["environ"], ScratchSpace(Path(directory) / "scratch"))
    tools = BackendResources(children=children, environ=wanted["environ"], directory=Path(directory) / "backend")
    async with kind.open(tools) as backend:
        await _take(backend, agent, prompts["first"], directory)
        before = _memory("VmRSS")
        _forget_largest()
        began = time.monotonic()
        _, error = await _take(backend, agent, prompts["hostile"], directory)
        seconds = time.monotonic() - began
        largest = _memory("VmHWM")
        last, _ = await _take(backend, agent, prompts["next"], directory)
    grown = largest - before if largest is not None and before is not None else None
    print(json.dumps({"error": error, "grown": grown, "seconds": seconds, "next": last}))


if __name__ == "__main__":
    asyncio.run(main())
