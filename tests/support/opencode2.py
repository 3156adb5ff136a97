"""An opencode whose server speaks version 2 of its API, for tests; `scripted_opencode2` says what is scripted."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from gateway.backends.opencode import probe
from tests.support import installed, scripted_opencode2
from tests.support import opencode as real

COMMAND = [sys.executable, "-I", "-S", scripted_opencode2.__file__]


def agent(model_url: str, home: Path, **more: Any) -> dict[str, Any]:
    """Return an entry of `agents.list` for it."""
    entry = real.agent(model_url, home) | {"command": COMMAND}
    entry["env"] |= variables(home)
    return entry | more


def variables(home: Path) -> dict[str, str]:
    """Return what the stand-in reads from its environment."""
    return {"REAL_OPENCODE": installed.program("opencode"), "SCRIPTED_SERVE": str(home / "served")}


def served(home: Path) -> list[int]:
    """Return the PIDs of the servers that were started, oldest first."""
    file = home / "served"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def install(directory: Path) -> None:
    """Put a program `opencode` into a directory, which then goes on PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "opencode"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{scripted_opencode2.__file__}" "$@"\n')
    program.chmod(0o755)


@contextlib.contextmanager
def ask_for_version_2() -> Iterator[None]:
    """Drive the real opencode 1.18 over the early form of version 2 of the API that it serves next to version 1."""
    with mock.patch.object(probe, "_ROUTES", {2: "/api/health"}):
        yield
