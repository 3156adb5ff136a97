"""An engine with a real store, and agents that do what a test tells them to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from gateway.domain.agent import Agent
from gateway.domain.budget import CalendarDays
from gateway.domain.event import Text
from gateway.domain.ports.backend import AgentHealth, Turn, TurnOutput
from gateway.domain.run import Run
from gateway.domain.times import Clock, wall_clock
from gateway.engine.engine import Engine
from gateway.engine.execution.owner import Owner
from gateway.process import identity
from gateway.store.file_directory import FileDirectory
from gateway.store.sql.store import NounStore, SqlStore
from harness.waiting import PATIENCE
from tests.contracts.stores import spec
from tests.support.store_kinds import SqliteKind, StoreKind

Anything = TurnOutput
Act = Callable[[Turn], AsyncGenerator[Anything, None]]


async def answering(turn: Turn) -> AsyncGenerator[Anything, None]:
    yield Text(delta=f"echo: {turn.input}")


async def hanging(turn: Turn) -> AsyncGenerator[Anything, None]:
    """Hang, but answer an input that starts with "the next"."""
    yield Text(delta="thinking")
    if not turn.input.startswith("the next"):
        await asyncio.Event().wait()


class Scripted:
    """A backend that runs a function of the test."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.turns: list[Turn] = []
        #: how many turns are running now, and the highest number so far
        self.working = 0
        self.most = 0

    async def __aenter__(self) -> Scripted:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def check_health(self, agent: Agent) -> AgentHealth:
        return AgentHealth(ok=True)

    async def stream_turn(self, turn: Turn) -> AsyncGenerator[Anything, None]:
        self.turns.append(turn)
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            async for said in self.act(turn):
                yield said
        finally:
            self.working -= 1


class Stage:
    """One engine with its store, backend and directory."""

    def __init__(self, engine: Engine, store: SqlStore, backend: Scripted, directory: Path) -> None:
        self.engine = engine
        self.store = store
        self.backend = backend
        self.directory = directory

    async def submit(self, text: str = "hello", session: str = "main:test:a", **fields: Any) -> Run:
        return (await self.engine.runs.submit_run(spec(session, text, **fields))).run

    async def ended(self, run: Run | str) -> Run:
        return await self.engine.runs.wait_for_run(run if isinstance(run, str) else run.id, PATIENCE)

    async def do(self, text: str = "hello", **fields: Any) -> Run:
        """Submit a run and wait for its end."""
        return await self.ended(await self.submit(text, **fields))

    async def kinds(self, run: Run) -> list[str]:
        return [event.kind for event in await self.store.events.read_after(run.id, 0, 10_000)]

    async def said(self, run: Run) -> Run:
        """Wait until a run's agent has said something."""
        async for event in self.engine.runs.watch_run(run.id):
            if event.kind == "text":
                break
        return await self.store.runs.get(run.id)

    async def begun(self, run: Run) -> Run:
        """Wait until a run is running."""
        async for event in self.engine.runs.watch_run(run.id):
            if event.kind == "text" or getattr(event.data, "status", "") == "running":
                break
        return await self.store.runs.get(run.id)


def me() -> Owner:
    return Owner("me", identity.own_identity())


def dead(name: str = "dead") -> Owner:
    """Return an owner that is dead: its PID now belongs to another process."""
    return Owner(name, identity.own_identity()._replace(started="1"))


#: the kind of store of the test that runs now, which a fixture sets
store_kind: StoreKind = SqliteKind()


def open_store(directory: Path, **options: Any) -> SqlStore:
    """Open the store of a directory, of the kind that the test is about."""
    return store_kind.open(directory, **options)


@asynccontextmanager
async def staged(
    directory: Path,
    act: Act = answering,
    *,
    agents: Mapping[str, Mapping[str, Any]] | None = None,
    prepare: Callable[[SqlStore], Awaitable[object]] | None = None,
    wrap: Callable[[SqlStore], Any] = lambda store: store,
    clock: Clock = wall_clock,
    days: CalendarDays | None = None,
    **options: Any,
) -> AsyncIterator[Stage]:
    """Open an engine.

    Args:
        agents: the fields of each agent, by id; one agent `main` if not given.
        prepare: is called with the store before the engine opens.
        wrap: puts something between the engine and its store.
    """
    store = open_store(directory, clock=clock, days=days)
    backend = Scripted(act)
    kinds = [Agent(id=name, backend="scripted", **fields) for name, fields in (agents or {"main": {}}).items()]
    try:
        if prepare is not None:
            await prepare(store)
        engine = Engine(
            wrap(store),
            kinds,
            {"scripted": backend},
            FileDirectory(directory / "files", str(me()), lambda _: False),
            owner=me(),
            directory=directory,
            clock=clock,
            days=days,
            **options,
        )
        async with engine:
            await engine.start_leading()
            yield Stage(engine, store, backend, directory)
    finally:
        await store.close()


class Between:
    """Wraps a store; tests change what its operations do. The name of an operation is for example `runs.claim`."""

    def __init__(self, store: SqlStore | None = None) -> None:
        """Args: store: None if `around` gives it."""
        self._store = store
        #: errors to raise instead of the next calls, by the operation's name
        self.refuse: dict[str, list[Exception]] = {}
        #: how often each operation was called
        self.calls: dict[str, int] = {}

    def around(self, store: SqlStore) -> Self:
        """Wrap a store: for `wrap` of `staged`."""
        self._store = store
        return self

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return _BetweenNoun(self, name, found) if isinstance(found, NounStore) else found

    async def perform(self, name: str, operation: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call an operation of the store. Subclasses change what happens."""
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.refuse.get(name):
            raise self.refuse[name].pop(0)
        return await operation(*args, **kwargs)


class _BetweenNoun:
    """The operations of a wrapped store on one noun."""

    def __init__(self, between: Between, noun: str, operations: NounStore) -> None:
        self._between, self._noun, self._operations = between, noun, operations

    def __getattr__(self, name: str) -> Any:
        return partial(self._between.perform, f"{self._noun}.{name}", getattr(self._operations, name))
