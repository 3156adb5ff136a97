"""Fixtures of the tests of a fleet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.fleet.members import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)
