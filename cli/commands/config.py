"""`gateway config`: shows the settings and where each comes from, checks them, and changes single ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from cli import output
from cli.command import Command, Group, current_invocation, require_config
from cli.instance import Instance
from gateway.config_files.json_file import get_nested
from gateway.errors import NotFound

if TYPE_CHECKING:
    from gateway.config import Config, Setting


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Show, check and change the settings, and print the path of the config file or the token.

    \b
    Examples:
      gateway config check
      gateway config show
      gateway config set gateway.port 8080
      gateway config unset gateway.port
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
    instance = _find_instance()
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
    from gateway.agent_setup import detection, idle_limits
    from gateway.assembly import deliveries
    from gateway.assembly.checks import check_settings  # late: imports all backends

    settings = _load_config()
    agents = check_settings(settings, current_invocation().merged_environment)
    shown = [{"id": agent.id, "backend": agent.backend, "enabled": agent.enabled} for agent in agents]
    named = ", ".join(f"{agent.id} ({agent.backend})" for agent in agents)
    fallback = agents[0].backend == detection.FALLBACK_BACKEND
    how = ", because no agent was found on this machine" if fallback else ", found on this machine"
    found = "" if settings.agents.entries else how
    where = output.shorten_home(settings.path) if settings.path.exists() else "no config file, all defaults"
    refused = [str(one) for one in deliveries.find_refused_webhooks(settings)]
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

    from cli.config_edit.values import format_value, hide_secrets  # late, as above
    from gateway import config

    settings = _load_config()
    instance = _find_instance()
    values = to_builtins(settings, enc_hook=str)
    rows = [
        {
            "name": setting.name,
            "value": hide_secrets(setting.name, get_nested(values, setting.name)),
            "source": _find_source(setting, instance),
        }
        for setting in config.list_settings()
    ]
    if current_invocation().json:
        output.print_json({"config": str(settings.path), "settings": rows})
    else:
        output.print_table(
            ("setting", "value", "source"), [(r["name"], format_value(r["value"]), r["source"]) for r in rows]
        )


@COMMAND.command("get")
@click.argument("key")
def get_setting(key: str) -> None:
    """Print the value of one setting that is in force. A secret is masked.

    KEY is a name as in docs/settings.md. It may lead into a channel, an agent or a map.

    \b
    Examples:
      gateway config get gateway.port
      gateway config get agents.list.main.model

    \b
    --json prints
      {"name": str, "value": any, "source": "default" | "file" | ".env: NAME" | "environment: NAME"}
    """
    from cli.config_edit import settings, values  # late, as above

    require_config()
    found, value, source = settings.read_setting(_find_instance(), key)
    shown = values.hide_value(found, value)
    output.print_result({"name": found.name, "value": shown, "source": source}, values.format_value(shown))


class _SetCommand(Command):
    """Takes a number below zero as a value, such as the id of a group in Telegram."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = next((number for number, word in enumerate(args) if re.match(r"-\d", word)), None)
        if at is not None and "--" not in args[:at]:
            args = [*args[:at], *args[at + 1 :], "--", args[at]]
        return super().parse_args(ctx, args)


@COMMAND.command("set", cls=_SetCommand)
@click.argument("key")
@click.argument("value", required=False)
@click.option("--stdin", is_flag=True, help="Read the value from standard input; - as VALUE does the same.")
def set_setting(key: str, value: str | None, stdin: bool) -> None:
    """Set KEY to VALUE in the config file, and keep everything else in it.

    KEY is a name as in docs/settings.md, such as gateway.port. It may lead into a map
    (channels.telegram.chats), to an agent by its id (agents.list.main.model), and has quotes around a
    part with dots. VALUE is a text, a number, a list with commas, or JSON. ${NAME} stands for a variable.

    The whole config is checked before the file is replaced. The file before is kept as a copy.

    \b
    Examples:
      gateway config set gateway.port 8080
      gateway config set channels.telegram.chats 123456789,-1001234567890
      gateway config set agents.list.main '{"backend": "openai", "model": "gpt-4o"}'
      pass show bot | gateway config set channels.telegram.token --stdin

    \b
    --json prints
      {"status": "ok", "key", "changed": bool, "config": path, "copy": path of the file before, or null,
       "restart": whether a running gateway takes it at its next restart only,
       "overridden_by": ".env: NAME" or "environment: NAME", or null}
    """
    from cli.config_edit import report, settings

    require_config()
    if (value is None) != stdin:
        raise click.UsageError("Give a VALUE, or --stdin.", click.get_current_context())
    is_given = value is not None and value != "-"
    text = value if is_given and value is not None else report.read_hidden_value(key)
    env = current_invocation().merged_environment
    report.print_change(_find_instance(), settings.set_setting(env, key, text, is_json=is_given), typed=is_given)


@COMMAND.command("unset")
@click.argument("key")
@click.option("--all", "is_section", is_flag=True, help="Remove a whole section, with all settings in it.")
def unset_setting(key: str, is_section: bool) -> None:
    """Remove KEY from the config file, so that it has its default again.

    A section such as gateway, and a list of agents or channels, is only removed with --all.
    The whole config is checked before the file is replaced. The file before is kept as a copy.

    \b
    Examples:
      gateway config unset gateway.port
      gateway config unset channels.telegram
      gateway config unset limits --all

    \b
    --json prints the same as gateway config set
    """
    from cli.config_edit import report, settings

    require_config()
    env = current_invocation().merged_environment
    report.print_change(
        _find_instance(), settings.unset_setting(env, key, is_section=is_section), typed=False, is_removal=True
    )


def _find_instance() -> Instance:
    return Instance.from_environment(current_invocation().merged_environment)


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
