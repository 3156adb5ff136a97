"""What a login service is, for the writers of each system's unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """Everything that a unit says; no secret is among it."""

    #: absolute path of what is run
    program: str
    #: its arguments
    arguments: tuple[str, ...]
    #: where it runs: the state directory
    directory: str
    #: PATH for child agents
    path: str
    #: seconds that a stop may take
    stop_seconds: int
    #: the user it runs as, for a unit of the whole system
    user: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would begin another line of a unit."""
        for value in (self.program, *self.arguments, self.directory, self.path, self.user or ""):
            if any(mark in value for mark in "\r\n\0"):
                raise ValueError(f"{value!r} holds a line break or NUL, which no unit can carry.")
