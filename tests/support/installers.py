"""Installs the wheel as users do, with the programs of this environment: pip, pipx and uv, for one Python."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support.account import Account

ROOT = Path(__file__).parent.parent.parent
#: versions of Python that the package is for
VERSIONS = ("3.11", "3.12", "3.13")


@cache
def find_python(version: str) -> Path:
    """Return the interpreter of a version; skip the test if this machine has none."""
    done = subprocess.run([ROOT / "scripts/find-python", version], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"there is no Python {version} on this machine, neither on PATH nor in pyenv")
    return Path(done.stdout.strip())


def find_tool(name: str) -> Path:
    """Return a program of the environment of the tests."""
    found = Path(sys.executable).parent / name
    assert found.exists(), f"{name} is not installed: run scripts/test, which installs requirements-dev.lock"
    return found


@dataclass(frozen=True, slots=True)
class Installation:
    """Moongate, installed for an account."""

    account: Account
    #: directory of the commands
    bin: Path
    #: interpreter of its environment
    python: Path
    #: command that removes it
    removal: tuple[str | Path, ...]


def install_with_pip(account: Account, python: Path, wheel: Path) -> Installation:
    venv = account.place / "venv"
    account.make_directory("venv")
    account.do(python, "-m", "venv", venv)
    pip = venv / "bin/pip"
    account.do(pip, "install", "--quiet", "--no-compile", "--no-cache-dir", wheel)
    return Installation(account, venv / "bin", venv / "bin/python", (pip, "uninstall", "--yes", "--quiet", "moongate"))


def install_with_pipx(account: Account, python: Path, wheel: Path) -> Installation:
    pipx = find_tool("pipx")
    account.do(pipx, "install", "--python", python, wheel)
    venv = account.home / ".local/share/pipx/venvs/moongate"
    return Installation(account, account.home / ".local/bin", venv / "bin/python", (pipx, "uninstall", "moongate"))


def install_with_uv(account: Account, python: Path, wheel: Path) -> Installation:
    uv = find_tool("uv")
    account.do(uv, "tool", "install", "--quiet", "--python", python, wheel)
    venv = account.home / ".local/share/uv/tools/moongate"
    return Installation(
        account, account.home / ".local/bin", venv / "bin/python", (uv, "tool", "uninstall", "moongate")
    )


INSTALLERS = {"pip": install_with_pip, "pipx": install_with_pipx, "uv": install_with_uv}
