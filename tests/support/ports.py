"""Ports for gateways that need a fixed port before they start."""

from __future__ import annotations

import contextlib
import random
import socket


def free() -> int:
    """Return a free port that the system never gives to a program that asks for any port."""
    dice = random.SystemRandom()
    while True:
        port = dice.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
