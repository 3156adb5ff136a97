"""Fixtures for all tests: a gateway in the test's loop, and real ones in processes of their own."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest

from gateway.backends import echo
from harness.live_gateway import Live
from tests.support import installed, ports, prepared_database
from tests.support.hurrying import Hurry
from tests.support.inprocess import Serving, serving
from tests.support.store_kinds import KIND_NAMES, SqliteKind, StoreKind, prepared_kind
from tests.support.thorough import is_thorough

# How long an example takes says how busy the machine is, and nothing about what is tested.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

# Who starts the tests in the background may have these ignored, which the programs that they start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform != "win32":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose agents are not installed, before its fixtures start them."""
    for mark in item.iter_markers("agents"):
        installed.require(*mark.args)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the drills begin first, all on the first worker: they wait more than they work, and take longest.

    Another worker takes over some of the last tests of a worker that has many left.
    """
    items.sort(key=lambda item: item.get_closest_marker("drill") is None)


@pytest.fixture(scope="session", autouse=True)
def prepared_databases() -> Iterator[None]:
    """Has new databases copied from one, which the migrations have made."""
    with prepared_database.copied():
        yield


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with the marker `both_stores` on each kind of store."""
    mark = metafunc.definition.get_closest_marker("both_stores")
    if "store_kind" in metafunc.fixturenames and mark is not None:
        is_left_out = mark.kwargs.get("only_sqlite_on_push", False) and not is_thorough()
        metafunc.parametrize("store_kind", [SqliteKind.name] if is_left_out else KIND_NAMES, indirect=True)


@pytest.fixture
def store_kind(request: pytest.FixtureRequest) -> Iterator[StoreKind]:
    """The kind of store that the gateways of a test have: SQLite, unless the test is marked `both_stores`."""
    with prepared_kind(getattr(request, "param", SqliteKind.name)) as kind:
        yield kind


@pytest.fixture
async def moongate(tmp_path: Path, store_kind: StoreKind) -> AsyncIterator[Serving]:
    """A gateway with a scripted echo agent, in this loop."""
    home = tmp_path / "home"
    async with serving(home, store=store_kind.find_live(home)) as served:
        yield served


@pytest.fixture
def live(tmp_path: Path, store_kind: StoreKind) -> Iterator[Callable[..., Live]]:
    """Makes real gateways, each in a state directory of its own below tmp_path; ends them after."""
    made: list[Live] = []

    def make(name: str = "home", **options: Any) -> Live:
        home = tmp_path / name
        made.append(Live(home, **{"store": store_kind.find_live(home), **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
async def hurry() -> Hurry:
    """Lets time pass in the test's loop."""
    return Hurry(asyncio.get_running_loop())


@pytest.fixture
async def pace(monkeypatch: pytest.MonkeyPatch) -> asyncio.Semaphore:
    """Has the echo agent of this loop sleep, and pause before a word, until it is released, however long it is told."""
    steps = asyncio.Semaphore(0)
    monkeypatch.setattr(echo, "asyncio", SimpleNamespace(Event=asyncio.Event, sleep=lambda _: steps.acquire()))
    return steps


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, nor can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A port that nobody has or is given."""
    return ports.free()
