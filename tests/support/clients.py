"""Generators of clients, and SDKs other than those of the tests themselves; `scripts/clients` installs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PYTHON_PACKAGES = _ROOT / ".clients"
_NODE_MODULES = _ROOT / ".opencode" / "node_modules"
#: seconds that a generator or a client's program may take
PROGRAM_TIMEOUT_SECONDS = 240.0


def python_packages(name: str) -> Path:
    """Return the folder of a Python package with its dependencies; without it, skip the test."""
    return _require(_PYTHON_PACKAGES / name)


def node_package(name: str) -> Path:
    """Return the folder of an npm package; without it, or without node, skip the test."""
    require_node()
    return _require(_NODE_MODULES / name)


def require_node() -> None:
    """Without node, skip the test."""
    _require(Path(shutil.which("node") or "node"))


def _require(path: Path) -> Path:
    if not path.exists():
        assert not os.environ.get("MOONGATE_TEST_ALL"), f"all tests must run, but {path.name} is missing"
        pytest.skip(f"{path.name} is not installed: run scripts/clients")
    return path


def run_python(packages: Path, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run Python with more packages and return its output, which must not be an error."""
    search = os.pathsep.join([str(cwd), str(packages)])
    return run_program(sys.executable, *arguments, cwd=cwd, env={"PYTHONPATH": search, **(env or {})})


def run_node(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run node, which finds the npm packages, and return its output, which must not be an error."""
    modules = cwd / "node_modules"
    if not modules.exists():
        modules.symlink_to(_NODE_MODULES)
    return run_program("node", *arguments, cwd=cwd, env={"REDOCLY_TELEMETRY": "off", "CI": "true", **(env or {})})


def run_program(*command: str, cwd: Path, env: Mapping[str, str]) -> str:
    """Run a program with a home of its own and return its output, which must not be an error."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
