"""An ACP backend with a scripted agent, for the tests of its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.acp import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    await rig.open()
    yield rig
    await rig.stack.aclose()
    assert not rig.ledger.alive()
