"""The real claude-agent-acp, set up for tests: with the scripted model, in its own home directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import installed


def environment(home: Path, model_url: str) -> dict[str, str]:
    """Make a home directory, and return the environment in which the agent has the scripted model."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "HOME": str(home),
        "PATH": installed.search_path(),
        "ANTHROPIC_BASE_URL": model_url,
        "ANTHROPIC_API_KEY": "sk-ant-scripted",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


def agent(model_url: str, home: Path, **more: Any) -> dict[str, Any]:
    """Return an entry of `agents.list` for the real claude-agent-acp."""
    command = [installed.program("claude-agent-acp")]
    return installed.make_acp_entry("claude", command, environment(home, model_url)) | more
