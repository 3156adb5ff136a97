"""Asks the user in a terminal, or takes the default answers with `--yes`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

import click

from cli import output
from cli.follow.keyboard import forget_typed_keys


class Prompts(Protocol):
    """Answers to the questions of the guide."""

    #: whether a user is there who can answer
    asks: bool

    def ask_text(self, question: str, default: str) -> str:
        """Return a line; the default if it is empty."""

    def ask_yes_no(self, question: str, default: bool) -> bool:
        """Return whether the answer is yes."""

    def ask_secret(self, question: str) -> str:
        """Return a line that is not shown; empty if the user gives none."""

    def ask_choice(self, question: str, choices: Sequence[str], default: str) -> str:
        """Return one of the choices, which the user may shorten to a beginning that only one has."""


class DefaultAnswers:
    """Takes each default, and gives no secret."""

    asks = False

    def ask_text(self, question: str, default: str) -> str:
        return default

    def ask_yes_no(self, question: str, default: bool) -> bool:
        return default

    def ask_secret(self, question: str) -> str:
        return ""

    def ask_choice(self, question: str, choices: Sequence[str], default: str) -> str:
        return default


class TerminalPrompts:
    """Asks on the terminal. Ctrl-C and Ctrl-D end the guide."""

    asks = True

    def ask_text(self, question: str, default: str) -> str:
        return _read_line(f"{question} [{default}]: " if default else f"{question}: ") or default

    def ask_yes_no(self, question: str, default: bool) -> bool:
        while True:
            said = _read_line(f"{question} [{'Y/n' if default else 'y/N'}]: ").lower()
            if not said:
                return default
            if said in ("y", "yes", "n", "no"):
                return said.startswith("y")
            output.print_error("   Answer y or n.")

    def ask_secret(self, question: str) -> str:
        import getpass  # late: only few users get here

        forget_typed_keys()
        try:
            return getpass.getpass(f"{question} (it is not shown): ").strip()
        except EOFError:
            raise click.Abort from None

    def ask_choice(self, question: str, choices: Sequence[str], default: str) -> str:
        while True:
            said = _read_line(f"{question} [{default}]: ").lower()
            if not said:
                return default
            fitting = [one for one in choices if one.lower() == said] or [
                one for one in choices if one.lower().startswith(said)
            ]
            if len(fitting) == 1:
                return fitting[0]
            output.print_error(f"   Answer one of: {', '.join(choices)}.")


def _read_line(prompt: str) -> str:
    """Return a line that the user types, without blanks around it.

    Raises:
        Abort: the user pressed Ctrl-D, or the terminal is gone.
    """
    forget_typed_keys()
    output.ask_question(prompt)
    line = sys.stdin.readline()
    if not line:
        raise click.Abort
    return line.strip()
