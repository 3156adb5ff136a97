"""The options and variables that name a gateway elsewhere, for every command. Light: what they mean is found later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from cli.instance import TOKEN_FILE_VARIABLE, TOKEN_SETTING
from cli.remote.command_places import Place, find_place

#: the name that means the gateway on this machine, where a remote could be named
THIS_MACHINE = "local"
#: begins the names of the parameters of these options
PARAMETER_PREFIX = "elsewhere_"
#: the file in the state directory that has the gateways elsewhere that the user has stored
REMOTES_FILE = "remotes.json"
#: a variable for each option that names a gateway
_CHOICES = {"--url": "MOONGATE_URL", "--remote": "MOONGATE_REMOTE"}


class Elsewhere:
    """What a command line says about a gateway elsewhere."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.remote: str | None = None
        self.token_file: str | None = None
        self.ca_file: str | None = None
        self.allow_plain_http = False

    def find_source(self, env: Mapping[str, str], config: str | None) -> str | None:
        """Return the option or the variable that names a gateway elsewhere; None if none does.

        An option goes before a variable. The name `local` means this machine, and so does a config file.

        Args:
            config: the value of `--config`.

        Raises:
            UsageError: two options contradict each other.
        """
        named = [("--url", self.url), ("--remote", self.remote), ("--config", config)]
        given = [option for option, value in named if value is not None]
        if len(given) > 1:
            raise click.UsageError(f"{given[0]} and {given[1]} name two gateways; give one of them.")
        if config is not None:
            return None
        for option, value in (("--url", self.url), ("--remote", self.remote)):
            if value is not None:
                return None if value == THIS_MACHINE and option == "--remote" else option
        for name in _CHOICES.values():
            if env.get(name):
                return None if env[name] == THIS_MACHINE and name == _CHOICES["--remote"] else name
        return None

    def merge_token(self, env: dict[str, str]) -> dict[str, str]:
        """Return an environment in which `--token-file` goes before the variables with a token."""
        if self.token_file is None:
            return env
        rest = {name: value for name, value in env.items() if name not in TOKEN_SETTING[1]}
        return {**rest, TOKEN_FILE_VARIABLE: self.token_file}

    def spell_options(self, program: str) -> str:
        """Return a program with the options of this command line that name a gateway elsewhere."""
        import shlex  # late: few command lines need it

        given = [("--remote", self.remote), ("--url", self.url), ("--token-file", self.token_file)]
        given += [("--ca-file", self.ca_file)]
        words = [f"{option} {shlex.quote(value)}" for option, value in given if value is not None]
        words += ["--allow-plain-http"] if self.allow_plain_http else []
        return " ".join([program, *words])


class _ElsewhereOption(click.Option):
    """An option that only commands for any gateway show in their help."""

    def __init__(self, *arguments: Any, is_rare: bool, **named: Any) -> None:
        """Args:
        is_rare: whether only the help of the whole program shows it.
        """
        super().__init__(*arguments, **named)
        self._is_rare = is_rare

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if (self._is_rare and ctx.parent is not None) or find_place(ctx) is not Place.ANY:
            return None
        return super().get_help_record(ctx)


#: the options: name, metavar, help, and whether only the help of the whole program shows it
_ELSEWHERE_OPTIONS = (
    ("--url", "URL", "Gateway on another machine, such as https://gate.example.  [env: MOONGATE_URL]", False),
    (
        "--remote",
        "NAME",
        "Gateway on another machine that `gateway remote add` stored; `local` is this machine.  [env: MOONGATE_REMOTE]",
        False,
    ),
    ("--token-file", "FILE", "File with the token for the gateway.  [env: MOONGATE_TOKEN_FILE]", True),
    (
        "--ca-file",
        "FILE",
        "Certificates to trust for --url, in PEM, in place of those of this machine.  [env: MOONGATE_CA_FILE]",
        True,
    ),
)


def add_options(params: list[click.Parameter], find: Callable[[click.Context], Elsewhere]) -> None:
    """Add the options to those of a command; one of the command's own with the same name stays.

    Args:
        find: returns what a context's command line says so far.
    """
    taken = {name for one in params for name in one.opts}

    def store(context: click.Context, param: click.Parameter, value: str | bool | None) -> None:
        if value is None or value is False:
            return
        if isinstance(value, str) and not value.strip():
            raise click.UsageError(f"{param.opts[0]}: the value is empty.", context)
        setattr(find(context), str(param.name).removeprefix(PARAMETER_PREFIX), value)

    for name, metavar, text, is_rare in _ELSEWHERE_OPTIONS:
        if name not in taken:
            params.append(
                _ElsewhereOption(
                    [name, _name_parameter(name)],
                    metavar=metavar,
                    help=text,
                    is_rare=is_rare,
                    expose_value=False,
                    callback=store,
                )
            )
    params.append(
        _ElsewhereOption(
            ["--allow-plain-http", _name_parameter("--allow-plain-http")],
            is_flag=True,
            help="Send the token over http:// to another machine: others on the way can read it."
            "  [env: MOONGATE_ALLOW_PLAIN_HTTP]",
            is_rare=True,
            expose_value=False,
            callback=store,
        )
    )


def _name_parameter(option: str) -> str:
    """Return the name of an option's parameter, which no parameter of a command has."""
    return PARAMETER_PREFIX + option.removeprefix("--").replace("-", "_")


def skip_option(word: str) -> int:
    """Return how many words an option of this module takes that begins with a word; 0 if it is another word."""
    name, equals, _ = word.partition("=")
    if name == "--allow-plain-http":
        return 1
    return (1 if equals else 2) if name in {option for option, *_ in _ELSEWHERE_OPTIONS} else 0
