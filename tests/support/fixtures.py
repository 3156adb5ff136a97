"""Fixtures that several test folders share; a conftest imports them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.process.child import Children
from harness.scripted_model import ScriptedModel, serve_model
from tests.support.ledger import MemoryLedger


@pytest.fixture
async def scripted_model() -> AsyncIterator[ScriptedModel]:
    """A scripted model on loopback, at `scripted_model.base_url`."""
    async with serve_model() as model:
        yield model


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def children(ledger: MemoryLedger) -> Children:
    """Starts processes, with an environment that has little more than a PATH."""
    return Children(ledger, {"PATH": "/usr/local/bin:/usr/bin:/bin", "OPENAI_API_KEY": "sk-of-the-gateway"})
