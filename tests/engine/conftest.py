"""Fixtures of the tests of the engine."""

from __future__ import annotations

import pytest

from tests.engine import stage
from tests.support.store_kinds import StoreKind


@pytest.fixture(autouse=True)
def set_store_kind(store_kind: StoreKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engines of the test open this kind of store."""
    monkeypatch.setattr(stage, "store_kind", store_kind)
