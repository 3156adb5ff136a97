"""The options that a running gateway was started with."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from gateway.supervisor.record import Record


class StartOptions(NamedTuple):
    """What a gateway is told when it starts; the settings say the rest."""

    port: int | None = None
    host: str | None = None
    #: `gateway` or `worker`
    role: str | None = None

    def list_words(self) -> list[str]:
        """Return the options as words of a command."""
        given = {"--port": self.port, "--host": self.host, "--role": self.role}
        return [word for name, value in given.items() if value is not None for word in (name, str(value))]


def read_start_options(found: Record) -> StartOptions:
    """Return the options that a gateway was started with; the settings may have changed since."""
    import psutil  # late: only needed here

    try:
        words = psutil.Process(found.pid).cmdline()
    except psutil.Error:
        words = []
    said = {name: value for word in words for name, _, value in [word.partition("=")]}
    said |= dict(pairwise(words))
    port = said.get("--port", "")
    return StartOptions(int(port) if port.isdigit() else None, said.get("--host"), said.get("--role"))
