"""Commands of a user id without an entry in the passwd file, as in a container with `--user`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can become a user whom nobody knows"
)
#: a user id that no passwd file has
STRANGER = 54_321
PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory that the stranger can reach, unlike those below tmp_path."""
    made = Path(f"/tmp/moongate-stranger-{os.getpid()}")
    made.mkdir()
    (made / "config.json").write_text(json.dumps({"gateway": {"port": 0}, "agents": {"list": [ECHO]}}))
    for path in (made, made / "config.json"):
        os.chown(path, STRANGER, STRANGER)
    yield made
    shutil.rmtree(made)


ECHO = {"id": "main", "backend": "echo"}


def run(home: Path | None, *words: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.defpath} | ({} if home is None else {"HOME": str(home), "MOONGATE_HOME": str(home)})
    # The process gives its rights up after its modules are loaded: the stranger may not be able to read them.
    code = (
        "import importlib, pkgutil, sys, os, cli.commands, cli.main, cli.doctor.checks, gateway.app\n"
        "for one in pkgutil.walk_packages(cli.__path__, 'cli.'): importlib.import_module(one.name)\n"
        f"os.setgid({STRANGER}); os.setuid({STRANGER}); raise SystemExit(cli.main.main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=PROJECT, env=given, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "words",
    ["status", "start", "stop", "restart", "logs", "doctor", "service-status", "install --dry-run", "uninstall"],
)
def test_no_command_needs_an_entry_in_the_passwd_file(home: Path, words: str) -> None:
    done = run(home, *words.split())

    assert "getpwuid" not in done.stdout + done.stderr
    assert "This is a bug" not in done.stderr
    assert done.stdout + done.stderr


def test_without_a_home_directory_one_message_says_what_to_set() -> None:
    done = run(None, "status")

    assert done.returncode == 78
    assert done.stderr == "HOME: this user has no home directory. Set HOME or MOONGATE_HOME.\n"
