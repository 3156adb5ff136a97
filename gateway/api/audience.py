"""The kinds of callers that routes without a token distinguish."""

from __future__ import annotations

from enum import Enum


class Audience(Enum):
    """Who asks on a route that needs no token."""

    #: without a token, from elsewhere
    WORLD = "world"
    #: without a token, from this machine
    MACHINE = "machine"
    #: with a token
    HOLDER = "holder"
