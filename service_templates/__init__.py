"""Writes and reads the unit of a login service, with one module for each kind of service manager.

Each module has three pure functions: `name(suffix)` returns the name of the service; `render(spec)` returns
the unit as text, or as bytes if the format fixes the encoding; `parse(text, ...)` returns the spec of a unit,
and raises ValueError if Moongate did not write it. Fields that a format cannot express are passed to `parse`
as arguments, or keep their defaults. `cli/service` installs the units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

#: environment variable with the kind of service manager that runs the gateway; every unit sets it
MARKER = "MOONGATE_SERVICE_MARKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """Everything that a unit contains. It contains no secret."""

    #: absolute path of the program
    program: str
    #: arguments of the program
    arguments: tuple[str, ...]
    #: arguments with which the same program restarts the running gateway
    reload: tuple[str, ...] = ()
    #: working directory: the state directory
    directory: str
    #: PATH for the agents
    path: str
    #: other variables by name, without the marker and PATH
    environment: tuple[tuple[str, str], ...] = ()
    #: file for the output, on systems without a journal
    output: str
    #: seconds that a stop may take
    stop_seconds: int
    #: whether agents cannot gain rights, such as with sudo
    confined: bool = False
    #: name of the user that the service runs as
    user: str
    #: whether it is a service of the whole system, started at boot and not at login
    system: bool = False
    #: suffix for the name of the service; empty for the default config
    suffix: str = ""
    #: version of Moongate that wrote the unit
    version: str

    def __post_init__(self) -> None:
        """Refuse values that would start another line of the unit."""
        words = [self.program, *self.arguments, *self.reload, self.directory, self.path, self.output, self.user]
        words += [self.suffix, self.version, *(part for pair in self.environment for part in pair)]
        for value in words:
            if any(mark in value for mark in "\r\n\0"):
                raise ValueError(f"{value!r} contains a line break or NUL, which no unit can contain.")


#: characters that XML cannot contain, even escaped: XML 1.0, production 2
_UNFIT_FOR_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(value: str) -> str:
    """Return a value as the text of an XML element.

    Raises:
        ValueError: the value has a character that XML cannot contain.
    """
    if _UNFIT_FOR_XML.search(value):
        raise ValueError(f"{value!r} contains a character that XML cannot contain.")
    return escape(value, quote=False)
