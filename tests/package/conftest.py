"""Fixtures for the tests of packages: the wheel and the source distribution, built once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import filelock
import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The directory with what `scripts/package` has built, for all workers."""
    temporary = tmp_path_factory.getbasetemp()
    directory = (temporary if worker_id == "master" else temporary.parent) / "built"
    with filelock.FileLock(f"{directory}.lock"):
        if not directory.exists():
            draft = directory.with_suffix(".draft")
            subprocess.run([ROOT / "scripts/package", draft], check=True, capture_output=True)
            draft.rename(directory)
    return directory


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def source(built: Path) -> Path:
    (found,) = built.glob("*.tar.gz")
    return found
