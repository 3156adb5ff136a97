"""Fixtures for the tests of the opencode backend: one server for each module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.scripted_model import ScriptedModel, serve_model
from tests.backends.opencode.rig import Rig, rigged

module_fixture = pytest_asyncio.fixture(scope="module", loop_scope="module")


@module_fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with serve_model() as model:
        yield model


@module_fixture
async def rig(model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """One backend for the module: a server takes seconds to start."""
    async with rigged(tmp_path_factory.mktemp("opencode"), model) as rig:
        yield rig
