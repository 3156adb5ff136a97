"""Programs of other projects that check what the docs have for them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: seconds that such a program may take
PROGRAM_TIMEOUT_SECONDS = 60


def require_program(name: str) -> str:
    """Return the path of a program; skip the test without it, but fail where all tests must run."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/lib/systemd:/usr/lib/systemd")
    if found is None:
        (pytest.fail if os.environ.get("MOONGATE_TEST_ALL") else pytest.skip)(f"{name} is not installed")
    return found


def run_program(name: str, *arguments: str | Path) -> str:
    """Run a program, and return all that it prints.

    Raises:
        AssertionError: it failed.
    """
    done = subprocess.run(
        [require_program(name), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROGRAM_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
