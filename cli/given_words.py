"""Checks the words of a command line before they are parsed: a value that is missing or empty is a mistake of a script.

Such a value comes from a variable of the shell that is not set, and would else mean something that nobody wants.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

#: metavars of options whose values name something
_NAMING_METAVARS = ("ID", "KEY", "FILE", "NAME=VALUE", "NAME[=VALUE]")
#: what nobody gives as a value, except by mistake
_OPTION_WORD = re.compile(r"--([A-Za-z]|$)")


def check_words(command: click.Command, context: click.Context, words: Sequence[str]) -> None:
    """Refuse an option in the place of a value, and an empty name.

    Raises:
        UsageError: a word is one of them.
    """
    options = {name: one for one in command.params if isinstance(one, click.Option) for name in one.opts}
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        option = options.get(name if word.startswith("--") else word)
        if option is not None and not option.is_flag and (equals or left):
            _check_value(option, name, value if equals else left.pop(0), context, is_apart=not equals)
        elif word == "--":
            for argument, given in zip(arguments, left, strict=False):
                _check_argument(argument, given, context)
            return
        elif (word == "-" or not word.startswith("-")) and arguments:
            _check_argument(arguments.pop(0), word, context)


def _check_value(option: click.Option, name: str, value: str, context: click.Context, *, is_apart: bool) -> None:
    if is_apart and _OPTION_WORD.match(value):
        raise click.UsageError(
            f'{name} needs a value, and "{value}" looks like an option. If it is the value: {name}={value}', context
        )
    if option.metavar in _NAMING_METAVARS and not value.strip():
        raise click.UsageError(f"{name}: the value is empty.", context)


def _check_argument(argument: click.Argument, value: str, context: click.Context) -> None:
    if argument.required and not value.strip():
        raise click.UsageError(f"The {argument.human_readable_name} is empty.", context)
