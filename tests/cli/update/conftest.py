"""Releases made from this tree, in an index of the tests, and a gateway that is installed from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness import releases
from harness.releases import Installed, Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="session")
def index(lab: Lab) -> Iterator[Mapping[str, str]]:
    with releases.serve_index(lab.index) as env:
        yield env


@pytest.fixture
def installed(lab: Lab, index: Mapping[str, str], tmp_path: Path) -> Iterator[Installed]:
    made = Installed(lab, tmp_path, index)
    try:
        yield made
    finally:
        made.close()
