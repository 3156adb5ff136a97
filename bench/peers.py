"""Other projects to compare with, in their own virtual environments; only with `--peers`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from bench.servers import ROOT

#: as its documentation recommends for production: with uvloop and httptools
FASTAPI = ("fastapi", "uvicorn[standard]")
APSCHEDULER = ("apscheduler>=3,<4",)

wanted = False


def fastapi() -> str | None:
    """Return a Python that has FastAPI and uvicorn; None without `--peers`."""
    return _with(FASTAPI)


def apscheduler() -> str | None:
    """Return a Python that has APScheduler; None without `--peers`."""
    return _with(APSCHEDULER)


def _with(packages: Sequence[str]) -> str | None:
    if not wanted:
        return None
    directory = ROOT / "build" / "peers"
    python = directory / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return str(python)


def versions(python: str) -> str:
    """Return the installed packages, as `name version, ...`."""
    program = (
        "from importlib.metadata import version as v;"
        "print(', '.join(f'{n} {v(n)}' for n in ('fastapi', 'uvicorn', 'uvloop', 'httptools')))"
    )
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
