"""Tells whether a request of an agent still waits for an answer: the events that are followed may be of long ago."""

from __future__ import annotations

from cli.remote.client import GatewayClient, quote_part
from gateway.errors import GatewayError


def is_request_open(client: GatewayClient, run: str, request: str) -> bool:
    """Return whether a permission request or a question of a run waits for an answer."""
    try:
        found = client.get(f"/api/tasks/{quote_part(run)}")["permissions"]
    except GatewayError:  # then the answer shows whether it was open
        return True
    return request in [one["id"] for one in found]
