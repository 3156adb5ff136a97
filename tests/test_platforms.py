"""Every module can be imported where names of POSIX, or of Linux, do not exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(sys.platform != "linux", reason="another platform is pretended on Linux")
@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_every_module_can_be_imported_without_the_names_that_a_platform_lacks(platform: str) -> None:
    words = [sys.executable, "-m", "tests.support.without_posix", platform]

    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    *failed, count = done.stdout.splitlines() or [done.stderr]
    assert (failed, done.returncode) == ([], 0), done.stderr
    assert int(count.split()[0]) > 200
