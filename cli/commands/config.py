"""`gateway config`: shows the settings and where each comes from, and checks them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.command import Group, current_invocation, require_config
from cli.instance import Instance
from gateway.config import hide_password
from gateway.config_files.json_file import get_nested
from gateway.errors import NotFound
from gateway.security.secret_file import mask_secret

if TYPE_CHECKING:
    from gateway.config import Config, Setting

#: names of fields whose values are secret; a field that names a file or variable with a secret is not one
_SECRET_FIELD = re.compile(r"(token|password|secret|api_?key|credential)s?$", re.IGNORECASE)


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Show and check the settings, and print the path of the config file or the token.

    \b
    Examples:
      gateway config check
      gateway config show
      $EDITOR "$(gateway config path)"
    """


@COMMAND.command("path")
def print_path() -> None:
    """Print the path of the config file.

    \b
    Example:
      $EDITOR "$(gateway config path)"

    \b
    --json prints {"path": str, "exists": bool, "home": the state directory}
    """
    instance = Instance.from_environment(current_invocation().merged_environment)
    value = {"path": str(instance.config), "exists": instance.config.exists(), "home": str(instance.home)}
    output.print_result(value, str(instance.config))
    if not instance.config.exists() and not current_invocation().json:
        output.print_note("The file does not exist: all settings have their defaults.")


@COMMAND.command("token")
def print_token() -> None:
    """Print the gateway's token, wherever it is set: for a script on this machine.

    It is looked for in the environment, in .env, in the config file, and in the token file.

    \b
    Example:
      curl -H "Authorization: Bearer $(gateway config token)" http://127.0.0.1:18790/api/agents

    \b
    --json prints {"token": str, "source": where it was found}
    """
    found = Instance.from_environment(current_invocation().merged_environment).access_token
    if found is None:
        raise NotFound(
            "there is no token.",
            remedy="With auth.mode none, none is needed; else the first start makes one: gateway start",
        )
    output.print_result({"token": found.value, "source": found.source}, found.value)


@COMMAND.command("check")
def check_config() -> None:
    """Check the config file, .env and the environment, as the gateway does when it starts.

    If something is wrong, the exit code is 78 and one line says what. Webhooks of schedules and
    of waiting deliveries that these settings would refuse are named, and so are limits of budgets that
    cannot hold.

    \b
    Example:
      gateway config check --config ./work.json

    \b
    --json prints {"status": "ok", "config": path, "agents": [{"id", "backend", "enabled"}],
      "refused_webhooks": [what the settings refuse, and why],
      "idle_limits": [limits of budgets that cannot hold, and why]}
    """
    from gateway import app  # late: imports all backends
    from gateway.agent_setup import detection, idle_limits

    settings = _load_config()
    agents = app.check_agents(settings, current_invocation().merged_environment)
    shown = [{"id": agent.id, "backend": agent.backend, "enabled": agent.enabled} for agent in agents]
    named = ", ".join(f"{agent.id} ({agent.backend})" for agent in agents)
    fallback = agents[0].backend == detection.FALLBACK_BACKEND
    how = ", because no agent was found on this machine" if fallback else ", found on this machine"
    found = "" if settings.agents.entries else how
    where = output.shorten_home(settings.path) if settings.path.exists() else "no config file, all defaults"
    refused = [str(one) for one in app.find_refused_webhooks(settings)]
    idle = idle_limits.find_idle_limits(agents)
    output.print_result(
        {
            "status": "ok",
            "config": str(settings.path),
            "agents": shown,
            "refused_webhooks": refused,
            "idle_limits": idle,
        },
        output.add_mark("✅", f"{where}: fine. Agents: {named}{found}."),
    )
    output.print_refused_webhooks(refused)
    for limit in idle:
        output.print_note(f"{limit[:1].upper()}{limit[1:]}.")


@COMMAND.command("show")
def show_settings() -> None:
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

    settings = _load_config()
    instance = Instance.from_environment(current_invocation().merged_environment)
    values = to_builtins(settings, enc_hook=str)
    rows = [
        {
            "name": setting.name,
            "value": _mask_secrets(setting.name, get_nested(values, setting.name)),
            "source": _find_source(setting, instance),
        }
        for setting in config.list_settings()
    ]
    if current_invocation().json:
        output.print_json({"config": str(settings.path), "settings": rows})
    else:
        output.print_table(
            ("setting", "value", "source"), [(r["name"], _format_value(r["value"]), r["source"]) for r in rows]
        )


def _load_config() -> Config:
    from gateway import config

    require_config()
    return config.load(current_invocation().merged_environment)


def _find_source(setting: Setting, instance: Instance) -> str:
    """Return where the value of a setting comes from, in the order in which `gateway.config.load` looks."""
    for values, origin in ((instance.env, "environment"), (instance.dotenv_values, ".env")):
        for name in setting.env:
            if values.get(name):
                return f"{origin}: {name}"
    return "default" if get_nested(instance.config_content, setting.name) is None else "file"


def _mask_secrets(name: str, value: Any) -> Any:
    """Return a value with its secrets masked. In an agent's environment every value is masked."""
    if isinstance(value, dict):
        return {key: _mask_secrets("token" if name == "env" else key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_mask_secrets(name, each) for each in value]
    if name == "store.url" and value:
        return hide_password(value)
    return mask_secret(str(value)) if value and _SECRET_FIELD.search(name) else value


def _format_value(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
