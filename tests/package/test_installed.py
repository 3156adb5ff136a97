"""The wheel, installed by an ordinary account with an empty home as the page says, works from `/` and goes again."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway
from tests.support.account import Account
from tests.support.files_below import list_files
from tests.support.installers import INSTALLERS, ROOT, VERSIONS, Installation, find_python
from tests.support.thorough import choose_cases

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="changes the account as on Linux")]


#: on each push, each tool once and each Python once
WAYS = choose_cases([(tool, version) for version in VERSIONS for tool in INSTALLERS], on_each_push=(0, 4, 8))


@pytest.fixture(params=WAYS, ids="-".join)
def installation(request: pytest.FixtureRequest, wheel: Path) -> Iterator[Installation]:
    tool, version = request.param
    python = find_python(version)
    tools = Path(sys.executable).parent.parent
    account = Account(python.parent.parent, tools, Path(sys.base_prefix))
    try:
        copy = account.place / wheel.name
        shutil.copy(wheel, copy)
        yield INSTALLERS[tool](account, python, copy)
    finally:
        account.close()


def test_an_installed_package_answers_and_leaves_nothing(installation: Installation) -> None:
    account, command = installation.account, installation.bin / "gateway"

    assert account.do(command, "--version") == f"Moongate {gateway.__version__}\n"
    assert account.do(installation.bin / "moongate", "--version") == f"Moongate {gateway.__version__}\n"
    assert "usage: python -m gateway" in account.do(installation.python, "-m", "gateway", "--help")
    assert not (account.home / ".moongate").exists(), "asking for the version writes nothing"

    started = json.loads(account.do(command, "start", "--port", "0", "--wait", "60s", "--json"))
    try:
        assert started["started"]
        assert "echo: Hello" in account.do(command, "agent", "Hello")
        unit = account.do(command, "install", "--dry-run")
        assert re.search(rf'ExecStart=":{installation.python}[0-9.]*" "-m" "gateway"', unit)
        assert "WantedBy=default.target" in unit
    finally:
        account.do(command, "stop")

    account.do(*installation.removal)
    shutil.rmtree(account.home / ".moongate")
    left = [file for file in list_files(account.place) if _is_ours(file.relative_to(account.place))]
    assert left == [account.place / f"moongate-{gateway.__version__}-py3-none-any.whl"]


def _is_ours(file: Path) -> bool:
    """Whether a file belongs to Moongate, and not to the installer with its caches and logs."""
    if not {".cache", "log", "logs"}.isdisjoint(file.parts):
        return False
    ours = {"gateway", "cli", "service_templates", "moongate"}
    above = {"site-packages", "bin", "doc", "tools", "venvs"}
    pairs = zip(("bin", *file.parts), file.parts, strict=False)
    return any(folder in above and name.partition("-")[0] in ours for folder, name in pairs)


def test_the_versions_are_those_that_the_package_names() -> None:
    project = (ROOT / "pyproject.toml").read_text()

    assert all(f'"Programming Language :: Python :: {version}"' in project for version in VERSIONS)
