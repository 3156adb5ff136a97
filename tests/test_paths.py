"""Where things are on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import paths


@pytest.fixture
def open_mask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_mask")
def test_all_directories_that_are_made_are_for_their_owner_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    made = paths.private_directory(tmp_path / "state" / "logs")

    assert [path.stat().st_mode & 0o777 for path in (made, made.parent, tmp_path)] == [0o700, 0o700, 0o755]
