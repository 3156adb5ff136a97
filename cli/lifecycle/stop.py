"""Stops a gateway: with a signal, or over HTTP on Windows, where signals kill."""

from __future__ import annotations

import contextlib
import signal

from cli.instance import Instance
from cli.remote import client
from cli.remote.local_link import LocalLink
from gateway.errors import GatewayError
from gateway.supervisor import restart_plan, signals, terminate
from gateway.supervisor.record import Record

#: seconds from the end of a grace period to the kill
KILL_DELAY_SECONDS = 1.0


def end_gateway(instance: Instance, found: Record, timeout_seconds: float, *, force: bool = False) -> None:
    """End a gateway, and wait until its port is free.

    Args:
        timeout_seconds: seconds that it may take to end by itself; then it is killed.
        force: kill it at once.

    Raises:
        Unavailable: it does not end, or its port does not become free.
    """
    if not force and restart_plan.CURRENT_PLATFORM == "win32":  # where any signal kills
        request_stop(instance, found, timeout_seconds)
    terminate.end_gateway(found, timeout_seconds, signals.KILL_SIGNAL if force else signal.SIGTERM)


def request_stop(instance: Instance, found: Record, timeout_seconds: float) -> None:
    """Ask a gateway to end over HTTP, and wait. Does nothing else if it does not answer or does not end."""
    with contextlib.suppress(GatewayError):
        client.GatewayClient(LocalLink(instance)).post("/api/gateway/stop")
        terminate.wait_gone(found.process_identity, timeout_seconds)
