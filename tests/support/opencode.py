"""The real opencode, set up for tests: offline, with the scripted model, in its own home directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.support import installed

#: the version that the tests are written for; `scripts/agents` installs it
OPENCODE_VERSION = "1.18.34"
#: opencode's name for the model
OPENCODE_MODEL = "scripted/scripted"


def config(model_url: str) -> dict[str, Any]:
    """Return opencode's configuration for a scripted model at a base URL."""
    price = {"input": 1, "output": 2}  # in US dollars for a million tokens
    about = {
        "cost": price,
        "limit": {"context": 1_000_000, "output": 32_000},  # over ACP, a cost is told with a limit
        "modalities": {"input": ["text", "image", "pdf", "audio"], "output": ["text"]},
    }
    models: dict[str, Any] = {"scripted": about, "scripted-b": about}
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
    _provide_plugin_package(home / ".config" / "opencode")
    models = home / "models.json"
    models.write_text("{}")
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_MODELS_PATH": str(models),  # or it prepares thousands of models that no test uses, for each workspace
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
    }


def agent(model_url: str, home: Path, **more: Any) -> dict[str, Any]:
    """Return an entry of `agents.list` for the real opencode."""
    entry = {
        "id": "main",
        "backend": "opencode",
        "model": OPENCODE_MODEL,
        "env": environment(home),
        "command": [installed.program("opencode")],
        "config": config(model_url),
    }
    return entry | more


def agent_over_acp(model_url: str, directory: Path) -> dict[str, Any]:
    """Return an entry of `agents.list` for the real opencode, which speaks ACP, with a new home directory."""
    env = environment(home(directory, model_url))
    return installed.make_acp_entry("opencode-acp", [installed.program("opencode"), "acp"], env)


def _provide_plugin_package(directory: Path) -> None:
    """Have the lock file of a directory with settings list the package for plugins, as after opencode's first start.

    Otherwise each opencode asks npm's registry for it and installs it; no test has a plugin.
    """
    (directory / "node_modules").mkdir(parents=True, exist_ok=True)
    wanted = {"dependencies": {"@opencode-ai/plugin": OPENCODE_VERSION}}
    (directory / "package.json").write_text(json.dumps(wanted))
    (directory / "package-lock.json").write_text(json.dumps({"lockfileVersion": 3, "packages": {"": wanted}}))


def home(directory: Path, model_url: str) -> Path:
    """Make a home directory in which opencode has the scripted model, as a user would set it up."""
    settings = directory / ".config" / "opencode" / "opencode.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(config(model_url)))
    return directory


def shell(home: Path) -> dict[str, str]:
    """Return the environment of a user with this home directory and opencode on PATH."""
    return {**environment(home), "PATH": f"{Path(installed.program('opencode')).parent}:{os.environ['PATH']}"}
