"""`gateway config`: shows the settings and where each comes from, and checks them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.command import Group, current, need_config
from cli.instance import Place, inner
from gateway.security.secret_file import masked

if TYPE_CHECKING:
    from gateway.config import Config, Setting

#: names of fields whose values are secret; a field that names a file or variable with a secret is not one
_SECRET = re.compile(r"(token|password|secret|api_?key|credential)s?$", re.IGNORECASE)


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Show and check the settings, and print the path of the config file.

    \b
    Examples:
      gateway config check
      gateway config show
      $EDITOR "$(gateway config path)"
    """


@COMMAND.command("path")
def path() -> None:
    """Print the path of the config file.

    \b
    Example:
      $EDITOR "$(gateway config path)"

    \b
    --json prints {"path": str, "exists": bool, "home": the state directory}
    """
    instance = Place.of(current().environment)
    value = {"path": str(instance.config), "exists": instance.config.exists(), "home": str(instance.home)}
    output.result(value, str(instance.config))
    if not instance.config.exists() and not current().json:
        output.talk("The file does not exist: all settings have their defaults.")


@COMMAND.command("check")
def check() -> None:
    """Check the config file, .env and the environment, as the gateway does when it starts.

    If something is wrong, the exit code is 78 and one line says what.

    \b
    Example:
      gateway config check --config ./work.json

    \b
    --json prints {"status": "ok", "config": path, "agents": [{"id", "backend", "enabled"}]}
    """
    from gateway import app  # late: imports all backends

    settings = _load()
    agents = app.check(settings, current().environment)
    shown = [{"id": agent.id, "backend": agent.backend, "enabled": agent.enabled} for agent in agents]
    named = ", ".join(f"{agent.id} ({agent.backend})" for agent in agents)
    found = "" if settings.agents.entries else ", found on this machine"
    where = output.home(settings.path) if settings.path.exists() else "no config file, all defaults"
    output.result(
        {"status": "ok", "config": str(settings.path), "agents": shown},
        output.marked("✅", f"{where}: fine. Agents: {named}{found}."),
    )


@COMMAND.command("show")
def show() -> None:
    """Show the value of every setting and where it comes from. Secrets are masked.

    \b
    Example:
      gateway config show | grep port

    \b
    --json prints
      {"config": path, "settings": [{"name": str, "value": any, "source": "default" |
        "file" | ".env: NAME" | "environment: NAME"}]}
    """
    from msgspec import to_builtins

    from gateway import config  # late, as above

    settings = _load()
    instance = Place.of(current().environment)
    values = to_builtins(settings, enc_hook=str)
    rows = [
        {
            "name": setting.name,
            "value": _shown(setting.name, inner(values, setting.name)),
            "source": _source(setting, instance),
        }
        for setting in config.table()
    ]
    if current().json:
        output.emit({"config": str(settings.path), "settings": rows})
    else:
        output.table(("setting", "value", "source"), [(r["name"], _text(r["value"]), r["source"]) for r in rows])


def _load() -> Config:
    from gateway import config

    need_config()
    return config.load(current().environment)


def _source(setting: Setting, instance: Place) -> str:
    """Return where the value of a setting comes from, in the order in which `gateway.config.load` looks."""
    for values, origin in ((instance.env, "environment"), (instance.dotenv, ".env")):
        for name in setting.env:
            if values.get(name):
                return f"{origin}: {name}"
    return "default" if inner(instance.written, setting.name) is None else "file"


def _shown(name: str, value: Any) -> Any:
    """Return a value with its secrets masked. In an agent's environment every value is masked."""
    if isinstance(value, dict):
        return {key: _shown("token" if name == "env" else key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shown(name, each) for each in value]
    return masked(str(value)) if value and _SECRET.search(name) else value


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
