"""Ports for gateways that have to be told theirs before they start."""

from __future__ import annotations

import contextlib
import random
import socket


def free() -> int:
    """Return a port that is free, and that the system gives to nobody who asks for any port."""
    dice = random.SystemRandom()
    while True:
        port = dice.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
