"""What a command is given to send: a text, from its argument or from the input."""

from __future__ import annotations

import sys

import click


def text(argument: str | None) -> str:
    """Return the text of an argument; without one, or for `-`, what the input holds.

    Raises:
        UsageError: there is none.
    """
    if argument is None and sys.stdin.isatty():
        raise click.UsageError("nothing to send: give a text, or pipe one in.", click.get_current_context())
    if argument in (None, "-"):
        argument = sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\n")
    if not argument:
        raise click.UsageError("the text to send is empty.", click.get_current_context())
    return argument


def labels(words: tuple[str, ...]) -> dict[str, str]:
    """Return `name=value` words as labels.

    Raises:
        UsageError: a word has no `=`.
    """
    for word in words:
        if "=" not in word:
            raise click.UsageError(f'--label: "{word}" is not of the form name=value.', click.get_current_context())
    return {name: value for name, _, value in (word.partition("=") for word in words)}
