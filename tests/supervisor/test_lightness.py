"""The supervisor runs as long as the gateway, next to the serving processes, so it must load few modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: modules for serving, and modules that few gateways need
OTHERS = (
    "aiohttp asyncio structlog psutil apsw ssl email rich click gateway.app gateway.engine gateway.store"
    " dotenv importlib.metadata prometheus_client filelock puremagic typing_extensions inspect dataclasses logging"
    " difflib zoneinfo secrets traceback tempfile"
).split()


def test_it_loads_no_module_that_only_others_need(tmp_path: Path) -> None:
    code = "import os, sys; from gateway import __main__, config; config.load(os.environ); print(*sys.modules)"
    env = {"MOONGATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TZ": "UTC"}

    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)

    assert "gateway.supervisor.supervisor" in done.stdout.split()
    assert [name for name in OTHERS if name in done.stdout.split()] == []
