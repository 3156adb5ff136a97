"""`gateway completion`: a script for completion with the Tab key."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cli import output
from cli.command import CommandWithoutJson


@click.command(cls=CommandWithoutJson)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def COMMAND(context: click.Context, shell: str) -> None:  # noqa: N802 the seam's name
    """Print a script that lets SHELL complete commands and options.

    \b
    Examples:
      gateway completion bash >> ~/.bashrc
      gateway completion zsh >> ~/.zshrc
      gateway completion fish > ~/.config/fish/completions/gateway.fish
    """
    root = context.find_root()
    name = root.info_name or "gateway"
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    output.print_text(kind(root.command, {}, name, f"_{name.upper()}_COMPLETE").source())
