"""The engine and its store in this process, with an agent that does no work."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from gateway import log
from gateway.domain.agent import Agent
from gateway.domain.event import BackendEvent, Text
from gateway.domain.ports.backend import AgentHealth, FullReply, SessionRef, Turn
from gateway.domain.run import RunSpec, Source
from gateway.domain.session import SessionKey
from gateway.engine.engine import Engine
from gateway.engine.execution.owner import Owner
from gateway.process import identity
from gateway.store.file_directory import FileDirectory
from gateway.store.sqlite.store import SqliteStore
from gateway.supervisor.logfile import LogFile


class Noop:
    """An agent that answers `ok` at once, and records when its turn began."""

    def __init__(self) -> None:
        #: when the newest turn began
        self.began = 0.0
        self.asked = asyncio.Event()

    async def __aenter__(self) -> Noop:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def check_health(self, agent: Agent) -> AgentHealth:
        return AgentHealth(ok=True)

    async def stream_turn(self, turn: Turn) -> AsyncIterator[BackendEvent | SessionRef | FullReply]:
        self.began = time.perf_counter()
        self.asked.set()
        yield Text(delta="ok")


@asynccontextmanager
async def engine(home: Path, agent: Noop | None = None) -> AsyncIterator[tuple[Engine, Noop]]:
    """Open an engine with one agent; it logs to a file, as the gateway does."""
    noop = agent or Noop()
    store = SqliteStore(home / "data" / "moongate.db")
    with _logging(home):
        agents = [Agent(id="main", backend="noop", max_concurrent=64)]
        owner = Owner("bench", identity.own_identity())
        contents = FileDirectory(home / "files", str(owner), lambda _: False)
        try:
            async with Engine(store, agents, {"noop": noop}, contents, owner=owner, directory=home) as opened:
                await opened.start_leading()
                yield opened, noop
        finally:
            await store.close()


def message(number: int) -> RunSpec:
    """Return a message in a chat with that number."""
    key = SessionKey.from_parts("main", "webchat", f"chat-{number}")
    return RunSpec(source=Source.MESSAGE, agent="main", session=str(key), input="What is the time?")


def sync_time(directory: Path, count: int = 50) -> float:
    """Return the milliseconds of one small write with fdatasync on this disk: the minimum for a commit."""
    descriptor = os.open(directory / "sync", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
    return sorted(taken)[count // 2] * 1000


@contextmanager
def _logging(home: Path) -> Iterator[None]:
    file = LogFile(home / "gateway.log")
    writer = log.configure_logging("info", [lambda line, _: file.write_line(line)])
    try:
        yield
    finally:
        writer.close()
        file.close()
