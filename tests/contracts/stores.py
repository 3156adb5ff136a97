"""The stores that must keep the contract, and helpers for their tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.agent import SessionMode
from gateway.domain.delivery import DeliveryAttempt
from gateway.domain.event import AnyEventData, Change, Event
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.store import Commit, Store
from gateway.domain.queue import AdmissionRules, RunLimits
from gateway.domain.run import AttemptResult, Move, Outcome, Run, RunFilter, RunSpec, Source
from gateway.store.sql import pieces
from harness.waiting import PATIENCE
from tests.support.store_kinds import KIND_NAMES, StoreKind, prepared_kind

#: higher than any test needs
LIMITS = RunLimits(total=1000, agents={"main": 1000, "other": 1000})
ALL = RunFilter()
#: one page with everything
PAGE = Page(limit=100_000)
#: the time of a test's clock at its start
START = 1_700_000_000_000
#: an attempt that a test does not look at
TRIED = DeliveryAttempt(at=START, took=5)


class SteppedClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def forward(self, milliseconds: int) -> None:
        self.now += milliseconds


class Shelf:
    """A directory with one store, which a test can open as often as it likes."""

    def __init__(self, kind: StoreKind, directory: Path, clock: SteppedClock) -> None:
        self.directory = directory
        self._kind = kind
        self._clock = clock
        self._opened: list[Store] = []

    def open(self, **options: Any) -> Store:
        self._opened.append(self._kind.open(self.directory, **{"clock": self._clock, **options}))
        return self._opened[-1]

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


@asynccontextmanager
async def shelved(kind: StoreKind, directory: Path, clock: SteppedClock) -> AsyncIterator[Shelf]:
    shelf = Shelf(kind, directory, clock)
    try:
        yield shelf
    finally:
        await shelf.close()


@pytest.fixture(autouse=True)
def unhurried_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a piece of housekeeping take its time: a busy machine would end it after any row."""
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", PATIENCE)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture(params=KIND_NAMES)
def store_kind(request: pytest.FixtureRequest) -> Iterator[StoreKind]:
    with prepared_kind(request.param) as kind:
        yield kind


@pytest.fixture
async def shelf(store_kind: StoreKind, tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Shelf]:
    async with shelved(store_kind, tmp_path, clock) as opened:
        yield opened


@pytest.fixture
async def store(shelf: Shelf) -> Store:
    return shelf.open()


class Told:
    """A listener of a store that records its calls."""

    def __init__(self, store: Store) -> None:
        self.calls: list[Commit] = []
        store.subscribe(self.calls.append)

    @property
    def events(self) -> list[Event]:
        return [event for commit in self.calls for event in commit.events]

    @property
    def changes(self) -> list[Change]:
        return [change for commit in self.calls for change in commit.changes]

    @property
    def claimed(self) -> list[Run]:
        return [claimed.run for commit in self.calls for claimed in commit.claimed]


def spec(session: str = "main:test:a", text: str = "hello", **fields: Any) -> RunSpec:
    """Return the spec of a run, for the agent that the session's key begins with."""
    agent = session.partition(":")[0]
    return RunSpec(source=Source.TASK, agent=agent, session=session, input=text, **fields)


def rules(mode: SessionMode) -> AdmissionRules:
    """Return the rules of an agent that treats a busy session in this way."""
    return AdmissionRules(slots=1, stored=False, session_mode=mode)


def key(name: str = "k", digest: str = "d", scope: str = "s") -> IdempotencyKey:
    return IdempotencyKey(scope=scope, key=name, digest=digest)


def done(result: str = "done", **fields: Any) -> AttemptResult:
    return AttemptResult(move=Move.SUCCEED, outcome=Outcome.COMPLETED, result=result, **fields)


async def claim_one(store: Store, owner: str = "owner") -> Run:
    (run,) = await store.runs.claim(owner, LIMITS)
    return run


async def running(store: Store, **fields: Any) -> Run:
    """Accept a run and claim it."""
    accepted = await store.runs.accept(spec(**fields))
    return next(run for run in await store.runs.claim("owner", LIMITS) if run.id == accepted.run.id)


async def finish(
    store: Store, run: Run, verdict: AttemptResult | None = None, said: Sequence[AnyEventData] = ()
) -> Run:
    return await store.runs.finish(run.id, run.epoch, verdict or done(), said)


async def kinds_of(store: Store, run: str) -> list[str]:
    """Return the kinds of a run's events, and check that they are numbered from 1 without gaps."""
    events = await store.events.read_after(run, 0, 10_000)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    return [event.kind for event in events]
