"""What a login service is, for the writers of each system's unit.

A writer is a module here with `name(suffix)`, what the system calls the service; `render(spec)`, the
unit's text, or its bytes where the encoding is part of it; and `parse(text, ...)`, the spec that a text
says, with ValueError for what is none of ours; what the text of a system cannot say is given to it, or
left at its default. All three are pure: who installs it is elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

#: environment name that says which service manager looks after the gateway; each writer sets it
MARKER = "MOONGATE_SERVICE_MARKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """Everything that a unit says; no secret is among it."""

    #: absolute path of what is run
    program: str
    #: its arguments
    arguments: tuple[str, ...]
    #: arguments with which the same program restarts the gateway that runs
    reload: tuple[str, ...] = ()
    #: where it runs: the state directory
    directory: str
    #: PATH for child agents
    path: str
    #: other variables by name, without the marker and PATH
    environment: tuple[tuple[str, str], ...] = ()
    #: file for what is printed, where the system keeps no journal of it
    output: str
    #: seconds that a stop may take
    stop_seconds: int
    #: whether agents are kept from gaining rights, as with sudo
    confined: bool = False
    #: name of the user that it runs as
    user: str
    #: whether it is one of the whole system, started at boot, and not at the user's login
    system: bool = False
    #: what tells the service of this config from others in names; empty for the usual config
    suffix: str = ""
    #: version of Moongate that wrote it
    version: str

    def __post_init__(self) -> None:
        """Refuse what would begin another line of a unit."""
        words = [self.program, *self.arguments, *self.reload, self.directory, self.path, self.output, self.user]
        words += [self.suffix, self.version, *(part for pair in self.environment for part in pair)]
        for value in words:
            if any(mark in value for mark in "\r\n\0"):
                raise ValueError(f"{value!r} holds a line break or NUL, which no unit can carry.")


#: what no XML document can hold, not even escaped: by XML 1.0, production 2
_UNFIT_FOR_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(value: str) -> str:
    """Return a value as the text of an XML element.

    Raises:
        ValueError: it holds a character that XML cannot carry.
    """
    if _UNFIT_FOR_XML.search(value):
        raise ValueError(f"{value!r} holds a character that XML cannot carry.")
    return escape(value, quote=False)
