"""How to write a command for a shell so that it reaches this gateway, and no other gateway of the user."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from gateway import paths
from gateway.errors import ConfigError

#: where the Debian package is installed, the account of its service of the system, and that service's files
PACKAGE_PREFIX = "/opt/moongate"
PACKAGE_ACCOUNT = "moongate"
PACKAGE_HOME = Path("/var/lib/moongate")
PACKAGE_CONFIG = Path("/etc/moongate/config.json")


def spell_program(env: Mapping[str, str], program: str = "gateway") -> str:
    """Return the program with what names the gateway of an environment: `MOONGATE_HOME=/srv/a gateway --config b.json`.

    What has its default is left out, and what the environment names wrongly: another message says so. On Windows,
    whose shells do not agree on how to set a variable, only the config file is named. The command of the Debian package
    finds the files of its service by itself for the account that owns them.
    """
    usual = {name: value for name, value in env.items() if name not in ("MOONGATE_HOME", "MOONGATE_CONFIG")}
    try:
        home, config = paths.state_directory(env), paths.config_file(env)
    except ConfigError:
        return program
    if (sys.prefix, home, config) == (PACKAGE_PREFIX, PACKAGE_HOME, PACKAGE_CONFIG):
        return f"sudo -u {PACKAGE_ACCOUNT} {program}"
    if home != _find_usual_home(usual) and sys.platform != "win32":
        program = f"MOONGATE_HOME={quote_word(str(home))} {program}"
    return program if config == home / "config.json" else f"{program} --config {quote_word(str(config))}"


def _find_usual_home(env: Mapping[str, str]) -> Path | None:
    try:
        return paths.state_directory(env)
    except ConfigError:  # this user has no home directory
        return None


def quote_word(text: str) -> str:
    """Return a text quoted as one word of the shell."""
    return f'"{text}"' if sys.platform == "win32" else shlex.quote(text)  # a path on Windows has no quotation mark
