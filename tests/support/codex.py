"""The real codex-acp, set up for tests: with the scripted model, in its own home directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import installed

#: for each program, a model name that it knows: with an unknown name, each answer contains a warning
_MODELS = {"codex-acp": "gpt-6-luna", "codex-acp-zed": "gpt-5.2-codex"}

_CONFIG = """
model = "{model}"
model_provider = "scripted"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.scripted]
name = "scripted"
base_url = "{url}"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""


def environment(home: Path, model_url: str, program: str) -> dict[str, str]:
    """Make a home directory in which codex has the scripted model, and return the environment for it."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(_CONFIG.format(model=_MODELS[program], url=model_url))
    return {"HOME": str(home), "CODEX_HOME": str(home), "PATH": installed.search_path()}


def agent(model_url: str, home: Path, program: str = "codex-acp", **more: Any) -> dict[str, Any]:
    """Return an entry of `agents.list` for one of the real programs: `codex-acp` or `codex-acp-zed`."""
    command = [installed.program(program)]
    return installed.make_acp_entry("codex", command, environment(home, model_url, program)) | more
