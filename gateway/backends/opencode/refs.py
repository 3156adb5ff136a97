"""References to opencode's conversations: the id of a session, and perhaps the directory where it began.

opencode numbers its sessions in the same way however it is driven, so one way continues what another has begun.
"""

from __future__ import annotations

from typing import NamedTuple

_SEPARATOR = "@"


class ConversationRef(NamedTuple):
    """What a reference tells."""

    session: str
    #: path of the directory where the session began; empty if the reference does not hold it
    directory: str = ""

    def __str__(self) -> str:
        return f"{self.session}{_SEPARATOR}{self.directory}" if self.directory else self.session


def parse_ref(ref: str) -> ConversationRef:
    """Return what a reference tells, whichever way of driving opencode made it."""
    session, _, directory = ref.partition(_SEPARATOR)
    return ConversationRef(session, directory)
