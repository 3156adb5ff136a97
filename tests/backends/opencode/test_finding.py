"""How an opencode is found: on PATH, or by what the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.assembly.checks import check_settings
from gateway.backends.opencode import backend
from gateway.backends.opencode.options import Options
from gateway.domain.agent import Agent


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"XCCLAW_OPENCODE_HOST": "10.0.0.7"}, "http://10.0.0.7:4096"),
        ({"XCCLAW_OPENCODE_PORT": "5000"}, "http://127.0.0.1:5000"),
        ({"XCCLAW_OPENCODE_HOST": "box", "XCCLAW_OPENCODE_PORT": "1"}, "http://box:1"),
    ],
)
async def test_a_server_that_the_environment_names_is_found(tmp_path: Path, environ: dict[str, str], url: str) -> None:
    named = environ | {"XCCLAW_OPENCODE_PASSWORD": "p", "MOONGATE_HOME": str(tmp_path)}

    (agent,) = check_settings(config.load(named), {"PATH": str(tmp_path)})

    assert (agent.backend, agent.options.url, agent.options.password) == ("opencode", url, "p")


async def test_a_program_on_path_is_found(tmp_path: Path) -> None:
    nothing_set = config.load({"MOONGATE_HOME": str(tmp_path)})
    program = tmp_path / "opencode"
    program.write_text("#!/bin/sh\n")
    assert backend.detect_agent({"PATH": str(tmp_path)}, nothing_set) is None

    program.chmod(0o755)

    assert backend.detect_agent({"PATH": str(tmp_path)}, nothing_set) == Agent(
        id="main", backend="opencode", options=Options()
    )
