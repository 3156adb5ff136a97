"""Gateways for the commands to talk to, and shells to run commands in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway that all tests share. No test stops it, and each test uses its own sessions.

    A delivery that failed is tried again only when a test says so.
    """
    agents = {"list": [{"id": "main", "backend": "echo", "script": True, "permissions": "ask"}]}
    live = Live(tmp_path_factory.mktemp("served"), {"agents": agents, "webhooks": {"schedule": [0, 3600]}})
    live.home.chmod(0o700)
    live.start()
    yield live
    live.close()


@pytest.fixture
def shell(served: Live) -> Shell:
    """A shell whose commands use the shared gateway."""
    return Shell(served.env, served.home)


@pytest.fixture
def alone(tmp_path: Path, live: Callable[..., Live]) -> tuple[Live, Shell]:
    """A gateway for one test, not started yet, and a shell whose commands use it."""
    made = live()
    made.home.chmod(0o700)
    return made, Shell(made.env, tmp_path)
