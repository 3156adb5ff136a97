"""What a supervisor and a serving process load: the one for as long as the gateway lives, the other at each start."""

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
#: modules that a serving process needs for some requests, agents, channels and commands only
FOR_SOME_REQUESTS = (
    "acp pydantic mcp httpx markdown_it nh3 pygments prometheus_client puremagic difflib psutil rich click filelock"
    " dotenv sqlite3 ctypes multiprocessing importlib.metadata xml unittest gateway.supervisor"
    " gateway.backends.acp gateway.backends.openai gateway.backends.opencode gateway.backends.command"
    " gateway.runner gateway.tracing opentelemetry google.protobuf requests"
).split()

#: opens a gateway with an echo agent as a serving process does, and prints what is loaded when it can serve
OPEN_GATEWAY = """
import asyncio, os, sys
from gateway import app, config, log, serve
from gateway.assembly.checks import check_settings
from gateway.api.routing import Control
from gateway.api.server import ApiServer
from gateway.engine.execution.owner import Owner
from gateway.process import identity

async def main():
    settings = config.load(os.environ)
    agents = check_settings(settings, os.environ)
    owner = Owner("one", identity.own_identity())
    control = Control(restart=print, stop=print, notes={})
    async with app.open_gateway(settings, agents, owner, control=control) as context:
        ApiServer(context)
        print(*sys.modules)  # before it closes

asyncio.run(main())
"""


def test_a_supervisor_loads_no_module_that_only_others_need(tmp_path: Path) -> None:
    loaded = run_code("import os; from gateway import __main__, config; config.load(os.environ)", tmp_path)

    assert "gateway.supervisor.supervisor" in loaded
    assert [name for name in OTHERS if name in loaded] == []


def test_a_serving_process_loads_no_module_that_only_some_requests_need(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"agents": {"list": [{"id": "main", "backend": "echo"}]}}')

    loaded = run_code(OPEN_GATEWAY, tmp_path)

    assert {"gateway.api.routes.tasks", "gateway.backends.echo"} <= loaded
    assert [name for name in FOR_SOME_REQUESTS if name in loaded] == []


def run_code(code: str, home: Path) -> set[str]:
    """Return the names of the modules that a process has loaded when it has run this code."""
    env = {"MOONGATE_HOME": str(home), "PATH": "/usr/bin:/bin", "TZ": "UTC"}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
