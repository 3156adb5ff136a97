"""How to write a command for a shell so that it reaches this gateway, and no other gateway of the user."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping

from gateway import paths


def spell_program(env: Mapping[str, str], program: str = "gateway") -> str:
    """Return the program with what names the gateway of an environment: `MOONGATE_HOME=/srv/a gateway --config b.json`.

    What has its default is left out. On Windows, whose shells do not agree on how to set a variable, only the
    config file is named.
    """
    usual = {name: value for name, value in env.items() if name not in ("MOONGATE_HOME", "MOONGATE_CONFIG")}
    home, config = paths.state_directory(env), paths.config_file(env)
    if home != paths.state_directory(usual) and sys.platform != "win32":
        program = f"MOONGATE_HOME={quote_word(str(home))} {program}"
    return program if config == home / "config.json" else f"{program} --config {quote_word(str(config))}"


def quote_word(text: str) -> str:
    """Return a text quoted as one word of the shell."""
    return f'"{text}"' if sys.platform == "win32" else shlex.quote(text)  # a path on Windows has no quotation mark
