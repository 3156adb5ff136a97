"""The real Gemini CLI, set up for tests: with the scripted model, in its own home directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support import installed

_SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "privacy": {"usageStatisticsEnabled": False},
    "general": {"enableAutoUpdate": False},
}


def environment(home: Path, model_url: str) -> dict[str, str]:
    """Make a home directory, and return the environment in which the agent has the scripted model."""
    settings = home / ".gemini" / "settings.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(_SETTINGS))
    return {
        "HOME": str(home),
        "PATH": installed.search_path(),
        "GOOGLE_GEMINI_BASE_URL": model_url,
        "GEMINI_API_KEY": "scripted",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
    }


def agent(model_url: str, home: Path, **more: Any) -> dict[str, Any]:
    """Return an entry of `agents.list` for the real Gemini CLI."""
    command = [installed.program("gemini"), "--acp"]
    return installed.make_acp_entry("gemini", command, environment(home, model_url)) | more
