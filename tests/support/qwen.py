"""The real Qwen Code, set up for tests: with the scripted model, in its own home directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.scripted_model import SCRIPTED_MODELS
from tests.support import installed

#: what the model reads: of one that Qwen Code does not know, it must be told
_READS = {"modalities": {"image": True, "pdf": True, "audio": True}}


def _settings(model_url: str) -> dict[str, Any]:
    about = {"baseUrl": model_url, "envKey": "OPENAI_API_KEY", "generationConfig": _READS}
    models = [{"id": name, "name": name, **about} for name in SCRIPTED_MODELS]
    return {
        "security": {"auth": {"selectedType": "openai"}},
        "modelProviders": {"openai": models},
        "model": {"name": SCRIPTED_MODELS[0]},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"enableAutoUpdate": False},
    }


def environment(home: Path, model_url: str) -> dict[str, str]:
    """Make a home directory, and return the environment in which the agent has the scripted model."""
    settings = home / ".qwen" / "settings.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(_settings(model_url)))
    return {
        "HOME": str(home),
        "PATH": installed.search_path(),
        "OPENAI_API_KEY": "sk-scripted",
    }


def agent(model_url: str, home: Path, **more: Any) -> dict[str, Any]:
    """Return an entry of `agents.list` for the real Qwen Code."""
    command = [installed.program("qwen"), "--acp"]
    return installed.make_acp_entry("qwen", command, environment(home, model_url)) | more
