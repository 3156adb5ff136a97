"""What all commands share: the options of every command, suggestions for typos, and how commands are found and loaded.

`--config` and `--json` are here; the options that name a gateway elsewhere are in `cli.remote.elsewhere`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from collections.abc import Mapping
from typing import Any

import click

import gateway
from cli import commands
from cli.given_words import check_words
from cli.remote.command_places import COMMAND_PLACES, Place, find_command_name, find_place, refuse_other_machine
from cli.remote.elsewhere import REMOTES_FILE, THIS_MACHINE, Elsewhere, add_options, skip_option
from gateway import paths
from gateway.errors import ConfigError, GatewayError
from gateway.supervisor.command_line import spell_program

_COMMAND_NAMES = sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules(commands.__path__))
#: our name where a command follows; not "the gateway status", and not with --config or --help
_COMMANDS_IN_TEXT = re.compile(
    r"(?<![\w./-])(?<!\bthe )(?<!\ba )(?<!\bthat )(?<!\bthis )gateway"
    rf"(?= (?P<name>{'|'.join(_COMMAND_NAMES)})\b(?![^\n;,]*--(?:config|help)\b))"
)
#: the command about the gateways elsewhere: what it prints may go to them
_REMOTE_COMMAND = "remote"
#: what stands before a command that is to be run on the machine of the gateway itself
_ON_ITS_MACHINE = ("machine: ", "machine, ")


class Interrupted(GatewayError):
    """Interrupted."""

    exit_code = 130  # 128 and the number of SIGINT


class Invocation:
    """The options that apply to the whole command line, wherever they stand in it."""

    def __init__(self) -> None:
        self.config: str | None = None
        self.json = False
        #: what names a gateway elsewhere, and how to reach it
        self.elsewhere = Elsewhere()

    @property
    def named_elsewhere(self) -> str | None:
        """The option or the variable that names a gateway elsewhere; None if none does."""
        return self.elsewhere.find_source(os.environ, self.config)

    @property
    def merged_environment(self) -> dict[str, str]:
        """The environment, with `--config` as `MOONGATE_CONFIG` if it was given, and `--token-file` likewise."""
        given = {"MOONGATE_CONFIG": self.config} if self.config else {}
        return self.elsewhere.merge_token({**os.environ, **given})


def current_invocation() -> Invocation:
    """Return the invocation of the command that runs now."""
    return click.get_current_context().ensure_object(Invocation)


def complete_commands(text: str, env: Mapping[str, str] | None = None) -> str:
    """Return a text of ours with all that its commands need to reach the gateway of an environment.

    `Start it: gateway start` becomes `Start it: gateway --config work.json start`. A command that names its
    config already stays as it is. What names a gateway elsewhere is only for commands that may go there. A command
    about this machine means this machine by what it prints, too, wherever commands go that name no gateway.

    Args:
        env: that of the command that runs now, if it is left out; a thread has no such command.
    """
    known = current_invocation().merged_environment if env is None else env
    spelled = spell_program(known)
    context = click.get_current_context(silent=True)  # a thread has none
    elsewhere = Elsewhere() if context is None else context.ensure_object(Invocation).elsewhere
    reaching = elsewhere.spell_options(spelled)
    if context is not None and reaching == spelled and " --config " not in spelled and _would_leave(context, known):
        reaching = f"{spelled} --remote {THIS_MACHINE}"

    def spell(found: re.Match[str]) -> str:
        if spelled != "gateway" and text.endswith(spelled, 0, found.end()):  # it was completed before
            return found[0]
        goes_there = COMMAND_PLACES.get(found["name"]) is Place.ANY
        if not goes_there or text.endswith(_ON_ITS_MACHINE, 0, found.start()):
            return spelled
        return reaching

    return _COMMANDS_IN_TEXT.sub(spell, text)


def _would_leave(context: click.Context, env: Mapping[str, str]) -> bool:
    """Return whether the command that runs is about this machine, and one that names no gateway would go elsewhere."""
    if find_place(context) is Place.ANY and context.ensure_object(Invocation).config is None:
        return False
    if find_command_name(context) == _REMOTE_COMMAND:
        return False
    later = {name: value for name, value in env.items() if name != "MOONGATE_CONFIG" or name in os.environ}
    plain = Elsewhere()
    return plain.find_source(later, None) is not None or _find_default_remote(plain, later, None) is not None


def _find_default_remote(elsewhere: Elsewhere, env: Mapping[str, str], config: str | None) -> str | None:
    """Return the stored gateway that commands go to if they name none; None if that is the one on this machine."""
    try:
        is_stored = os.path.lexists(paths.state_directory(env) / REMOTES_FILE)
    except ConfigError:  # there is no state directory: the command says so, if it needs one
        return None
    if not is_stored:
        return None
    from cli.remote.target import find_default_remote  # late: few users have one

    return find_default_remote(elsewhere, env, config)


def require_config() -> None:
    """Refuse a `--config` file that does not exist: the user does not want the defaults.

    Raises:
        ConfigError: there is no such file.
    """
    named = current_invocation().config
    if named is not None and not paths.expand_path(named, "--config").exists():
        raise ConfigError(f"there is no config file {named}.", remedy="Give --config the path of an existing file.")


def _store_config(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        if not value.strip():
            raise click.UsageError("--config: the value is empty.", context)
        context.ensure_object(Invocation).config = value


def _store_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).json = True


def _config_option() -> click.Option:
    return click.Option(
        ["--config"],
        metavar="FILE",
        expose_value=False,
        callback=_store_config,
        help="Config file of the gateway to use.  [env: MOONGATE_CONFIG]",
    )


def _json_option() -> click.Option:
    return click.Option(
        ["--json"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_store_json,
        help='Print JSON as above. On failure: {"error": {"code", "message", "details"?}}.',
    )


class Command(click.Command):
    """A command with the options that every command has."""

    #: whether the command has `--json`
    has_json = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params.append(_config_option())
        add_options(self.params, lambda context: context.ensure_object(Invocation).elsewhere)
        if self.has_json:
            self.params.append(_json_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            check_words(self, ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        refuse_other_machine(ctx, ctx.ensure_object(Invocation).named_elsewhere)
        if find_place(ctx) is Place.HERE:
            _note_default_remote(ctx)
        return super().invoke(ctx)


def _note_default_remote(context: click.Context) -> None:
    """Say of a command about this machine that it leaves the gateway alone that the other commands go to."""
    invocation = context.ensure_object(Invocation)
    if invocation.json:
        return
    name = _find_default_remote(invocation.elsewhere, invocation.merged_environment, invocation.config)
    if name is not None:
        from cli import output  # late: it imports this module

        output.print_note(f"{context.command_path} is about this machine; {name}, where commands go, is left alone.")


class CommandWithoutJson(Command):
    """A command without `--json`, because it prints no result."""

    has_json = False


class Group(click.Group):
    """A group of subcommands that suggests the nearest one for a typo."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands, each with its whole first sentence; click would cut it off."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, one.get_short_help_str(formatter.width * 10)) for name, one in found if one is not None]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            import difflib  # late: only needed for a typo

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f'; did you mean "{near[0]}"?' if near else "."
            raise click.UsageError(f'there is no command "{args[0]}"{hint}', ctx)
        return super().resolve_command(ctx, args)


class Program(Group):
    """The whole program. Each module in `cli.commands` is a command, and is imported only when it is used.

    Without a command the gateway runs: `gateway --port 1` is `gateway run --port 1`.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params.append(_config_option())
        add_options(self.params, lambda context: context.ensure_object(Invocation).elsewhere)
        self.params.append(_version_option())

    def list_commands(self, ctx: click.Context) -> list[str]:
        return _COMMAND_NAMES

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found = importlib.import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}").COMMAND
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = super().resolve_command(ctx, args)
        named = ctx.ensure_object(Invocation).named_elsewhere
        if named is not None and named.startswith("--"):  # a command without our options cannot check that itself
            refuse_other_machine(ctx, named, found[0])
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            at = find_first_other_word(args)
            if at == len(args) or (args[at].startswith("-") and args[at] not in ("--help", "--version")):
                args = [*args[:at], "run", *args[at:]]
        return super().parse_args(ctx, args)


def find_first_other_word(args: list[str]) -> int:
    """Return the position of the first word that is neither an option of every command nor its value."""
    at = 0
    while at < len(args):
        if args[at] == "--config":
            at += 2
        elif args[at].startswith("--config="):
            at += 1
        elif skipped := skip_option(args[at]):
            at += skipped
        else:
            break
    return min(at, len(args))


def _version_option() -> click.Option:
    def show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            click.echo(f"Moongate {gateway.__version__}")  # not `output`, which imports this module
            context.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show_version,
        help="Print the version and exit.",
    )
