"""The steps of an installation or a removal. If one fails, all are undone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cli.command import Interrupted
from gateway.errors import GatewayError

#: what to do about a file that cannot be written
UNWRITABLE_REMEDY = "Check its permissions, and whether the disk is full."


class Step(NamedTuple):
    """One step of an installation or a removal, with the way to undo it."""

    #: what it does, for messages, such as "enable the service"
    name: str
    #: the command that a user would type for it, for --dry-run
    shown: str
    do: Callable[[], None]
    #: restores the state from before `do`; also called when `do` failed half way
    undo: Callable[[], None]
    #: what to do when it fails
    remedy: str


def undo_nothing() -> None:
    """Do nothing, for a step that needs no undo."""


def carry_out(steps: Iterable[Step], say: Callable[[str], None] = lambda _: None) -> None:
    """Carry out all steps. If one fails, undo it and those before it.

    Args:
        say: called with the name of each step when it starts.

    Raises:
        GatewayError: a step failed; the message names it, and the remedy says what to do.
        Interrupted: the user pressed Ctrl-C; the steps are undone.
    """
    started: list[Step] = []
    for step in steps:
        started.append(step)
        try:
            say(step.name)
            step.do()
        except (GatewayError, OSError, ValueError) as error:
            after = _undo_steps(started, say)
            raise GatewayError(f"cannot {step.name}: {error}", remedy=f"{after}\n{step.remedy}") from error
        except KeyboardInterrupt:
            raise Interrupted("Interrupted.", remedy=_undo_steps(started, say)) from None


def _undo_steps(started: Sequence[Step], say: Callable[[str], None]) -> str:
    """Undo steps, the last one first. Return a sentence about the resulting state."""
    say("undo all steps")
    left = []
    for step in reversed(started):
        undone = False
        # After an error, and after another Ctrl-C, the other steps are still undone.
        with contextlib.suppress(GatewayError, OSError, ValueError, KeyboardInterrupt):
            step.undo()
            undone = True
        if not undone:
            left.append(step.name)
    return f"Could not undo: {', '.join(left)}." if left else "Everything is as it was before."
