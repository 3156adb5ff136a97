"""How deep a request comes: what an agent asks of its own gateway is one deeper than the run that it works on."""

from __future__ import annotations

from contextvars import ContextVar

import msgspec

from gateway.domain.run import RunSpec
from gateway.errors import TooDeep

#: how many runs stand above what is asked for now
ASKED: ContextVar[int] = ContextVar("asked", default=0)


def deepened(spec: RunSpec, limit: int) -> RunSpec:
    """Return what is to be done, as deep as it is asked for.

    Raises:
        TooDeep: that is deeper than allowed.
    """
    depth = max(spec.depth, ASKED.get())
    if depth > limit:
        raise TooDeep(
            f"agents have asked one another {depth} deep, and {limit} is the limit (limits.depth).",
            remedy="If this is no circle, raise the limit.",
        )
    return spec if depth == spec.depth else msgspec.structs.replace(spec, depth=depth)
