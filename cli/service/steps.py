"""The steps of an installation or a removal: all are carried out, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cli.command import Interrupted
from gateway.errors import GatewayError

#: what to do about a file that cannot be written
UNWRITTEN = "See who may write there, and whether the disk is full."


class Step(NamedTuple):
    """One step of an installation or a removal, that can be taken back."""

    #: what it does, for messages: "enable the service"
    name: str
    #: as a user would type it, for --dry-run
    shown: str
    do: Callable[[], None]
    #: makes things as they were before `do`; also called when `do` failed half way
    undo: Callable[[], None]
    #: what to do when it fails
    remedy: str


def undo_nothing() -> None:
    """Nothing is to be taken back."""


def carry_out(steps: Iterable[Step], say: Callable[[str], None] = lambda _: None) -> None:
    """Take all steps, or none: at the first that fails, those before it are taken back.

    Args:
        say: told what is done now.

    Raises:
        GatewayError: a step failed; the message names it, and the remedy says what to do.
        Interrupted: Ctrl-C; all was taken back.
    """
    taken: list[Step] = []
    for step in steps:
        taken.append(step)
        try:
            say(step.name)
            step.do()
        except (GatewayError, OSError, ValueError) as error:
            after = _take_back(taken, say)
            raise GatewayError(f"cannot {step.name}: {error}", remedy=f"{after}\n{step.remedy}") from error
        except KeyboardInterrupt:
            raise Interrupted("Interrupted.", remedy=_take_back(taken, say)) from None


def _take_back(taken: Sequence[Step], say: Callable[[str], None]) -> str:
    """Undo steps, the last one first; return how things are afterwards."""
    say("put everything back")
    left = []
    for step in reversed(taken):
        undone = False
        with contextlib.suppress(GatewayError, OSError, ValueError, KeyboardInterrupt):  # the rest is undone still
            step.undo()
            undone = True
        if not undone:
            left.append(step.name)
    return f"Left undone: {', '.join(left)}." if left else "Everything is as it was before."
