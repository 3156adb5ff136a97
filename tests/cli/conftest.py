"""A gateway for the commands to talk to, and shells to run them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.support.live import Live


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway that all tests share: none of them stops it, and each has sessions of its own."""
    agents = {"list": [{"id": "main", "backend": "echo", "script": True, "permissions": "ask"}]}
    live = Live(tmp_path_factory.mktemp("served"), {"agents": agents})
    live.home.chmod(0o700)
    live.start()
    yield live
    live.close()


@pytest.fixture
def shell(served: Live) -> Shell:
    """A shell where that gateway is meant."""
    return Shell(served.env, served.home)


@pytest.fixture
def alone(tmp_path: Path, live: Callable[..., Live]) -> tuple[Live, Shell]:
    """A gateway of the test's own, not started yet, and a shell where it is meant."""
    made = live()
    made.home.chmod(0o700)
    return made, Shell(made.env, tmp_path)
