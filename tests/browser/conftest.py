"""Fixtures for tests of the dashboard in Chromium.

These tests share one event loop, so that one Chromium and its driver, which take a second to start, serve all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from harness.chromium import open_chromium
from harness.waiting import PATIENCE
from tests.support.browser import Dashboard, require_chromium
from tests.support.inprocess import Serving, serving

_HERE = Path(__file__).parent
_SHARED_LOOP = pytest.mark.asyncio(loop_scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(_SHARED_LOOP, append=False)  # before the mark that asyncio_mode = "auto" gives


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The Chromium of this worker."""
    expect.set_options(timeout=PATIENCE * 1000)
    async with open_chromium(require_chromium()) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def moongate(tmp_path: Path) -> AsyncIterator[Serving]:
    """A gateway with a scripted echo agent, in the loop of these tests."""
    async with serving(tmp_path / "home") as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def dashboard(chromium: Browser) -> AsyncIterator[Dashboard]:
    """Opens pages, and fails the test if something happened there that must not.

    Name it after the gateway among a test's arguments, so that its pages are closed before the gateway goes.
    """
    opened = Dashboard(chromium)
    yield opened
    await opened.close()
    opened.check()
