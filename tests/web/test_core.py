"""Node's test runner tests core/ of the dashboard, as far as that needs no document."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support import clients

ROOT = Path(__file__).parents[2]
FILES = sorted(Path(__file__).parent.glob("*.test.mjs"))


@pytest.mark.clients
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.partition(".")[0])
def test_core(tmp_path: Path, file: Path) -> None:
    """https://nodejs.org/api/test.html"""
    clients.require_node()
    shutil.copytree(ROOT / "gateway" / "web", tmp_path / "gateway" / "web")
    shutil.copytree(ROOT / "tests" / "web", tmp_path / "tests" / "web", ignore=shutil.ignore_patterns("*.py", "__*"))
    # Browsers take these files for modules; Node asks the nearest package.json.
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))

    clients.run_node("--test", f"tests/web/{file.name}", cwd=tmp_path)
