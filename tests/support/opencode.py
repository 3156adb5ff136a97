"""The real opencode, set up for tests: offline, with the scripted model, in its own home directory."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

#: the version that the tests are written for; `scripts/opencode` installs it
OPENCODE_VERSION = "1.18.33"
#: opencode's name for the model
OPENCODE_MODEL = "scripted/scripted"

_ROOT = Path(__file__).parents[2]
_PACKAGED = _ROOT / ".opencode" / "node_modules" / "opencode-linux-x64" / "bin" / "opencode"

OPENCODE_MISSING = "opencode is not installed: run scripts/opencode, or set MOONGATE_TEST_OPENCODE to the program"


def find_opencode() -> str | None:
    """Return the path of the program: from the environment, from `.opencode/`, or from PATH."""
    named = os.environ.get("MOONGATE_TEST_OPENCODE")
    if named:
        return named if Path(named).is_file() else None
    return str(_PACKAGED) if _PACKAGED.is_file() else shutil.which("opencode")


def config(model_url: str) -> dict[str, Any]:
    """Return opencode's configuration for a scripted model at a base URL."""
    models: dict[str, Any] = {"scripted": {}, "scripted-b": {}}
    return {
        "model": OPENCODE_MODEL,
        "small_model": OPENCODE_MODEL,
        "enabled_providers": ["scripted"],
        "provider": {
            "scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": model_url, "apiKey": "sk-scripted"},
                "models": models,
            }
        },
    }


def environment(home: Path) -> dict[str, str]:
    """Return an environment that keeps opencode offline and out of the user's home directory."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
    }


def agent(model_url: str, home: Path, **more: Any) -> dict[str, Any]:
    """Return an entry of `agents.list` for the real opencode; `find_opencode()` must have found it."""
    entry = {
        "id": "main",
        "backend": "opencode",
        "model": OPENCODE_MODEL,
        "env": environment(home),
        "command": [find_opencode()],
        "config": config(model_url),
    }
    return entry | more


def home(directory: Path, model_url: str) -> Path:
    """Make a home directory in which opencode has the scripted model, as a user would set it up."""
    settings = directory / ".config" / "opencode" / "opencode.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(config(model_url)))
    return directory


def shell(home: Path) -> dict[str, str]:
    """Return the environment of a user with this home directory and opencode on PATH; `find()` must have found it."""
    program = find_opencode()
    assert program is not None
    return {**environment(home), "PATH": f"{Path(program).parent}:{os.environ['PATH']}"}
