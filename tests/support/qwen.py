"""The real Qwen Code, set up for tests: with the scripted model, in its own home directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support import installed

_SETTINGS = {
    "security": {"auth": {"selectedType": "openai"}},
    "privacy": {"usageStatisticsEnabled": False},
    "general": {"enableAutoUpdate": False},
}


def environment(home: Path, model_url: str) -> dict[str, str]:
    """Make a home directory, and return the environment in which the agent has the scripted model."""
    settings = home / ".qwen" / "settings.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(_SETTINGS))
    return {
        "HOME": str(home),
        "PATH": installed.search_path(),
        "OPENAI_BASE_URL": model_url,
        "OPENAI_API_KEY": "sk-scripted",
        "OPENAI_MODEL": "scripted",
    }


def agent(model_url: str, home: Path, **more: Any) -> dict[str, Any]:
    """Return an entry of `agents.list` for the real Qwen Code."""
    entry = {
        "id": "main",
        "backend": "acp",
        "command": [installed.program("qwen"), "--acp"],
        "env": environment(home, model_url),
    }
    return entry | more
