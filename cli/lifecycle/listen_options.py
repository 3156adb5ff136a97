"""Reads where a running gateway was told to listen."""

from __future__ import annotations

from itertools import pairwise

from gateway.supervisor.record import Record


def read_listen_options(found: Record) -> tuple[int | None, str | None]:
    """Return the port and host options that a gateway was started with; the settings may have changed since."""
    import psutil  # late: only needed here

    try:
        words = psutil.Process(found.pid).cmdline()
    except psutil.Error:
        words = []
    said = {name: value for word in words for name, _, value in [word.partition("=")]}
    said |= dict(pairwise(words))
    port = said.get("--port", "")
    return int(port) if port.isdigit() else None, said.get("--host")
