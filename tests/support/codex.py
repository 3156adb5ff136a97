"""The real codex-acp, set up for tests: with the scripted model, in its own home directory."""

from __future__ import annotations

from pathlib import Path

#: a model name that codex knows: with an unknown name, each answer contains a warning
CODEX_MODEL = "gpt-5.2-codex"

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


def environment(home: Path, model_url: str) -> dict[str, str]:
    """Make a home directory in which codex has the scripted model, and return the environment for it."""
    home.mkdir(parents=True)
    (home / "config.toml").write_text(_CONFIG.format(model=CODEX_MODEL, url=model_url))
    return {"HOME": str(home), "CODEX_HOME": str(home)}
