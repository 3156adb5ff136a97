"""How a timeout is ended early: by the revocation of a token, the end of the server, or a client that goes away."""

from __future__ import annotations

from asyncio import Timeout


def end_now(deadline: Timeout) -> None:
    """End a timeout at once. One that has ended meanwhile, by itself or by this, cannot be changed any more."""
    if not deadline.expired():
        deadline.reschedule(0)
