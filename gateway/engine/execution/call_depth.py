"""The call depth: a run that an agent submits to its own gateway is one deeper than the run that the agent works on."""

from __future__ import annotations

from contextvars import ContextVar

import msgspec

from gateway.domain.run import RunSpec
from gateway.errors import TooDeep

#: how many runs are above the run that the current request submits
CALLER_DEPTH: ContextVar[int] = ContextVar("asked", default=0)


def apply_caller_depth(spec: RunSpec, limit: int) -> RunSpec:
    """Return a run with the call depth of the current request.

    Raises:
        TooDeep: it is deeper than `limit`.
    """
    depth = max(spec.depth, CALLER_DEPTH.get())
    if depth > limit:
        raise TooDeep(
            f"agents have asked one another {depth} deep, and {limit} is the limit (limits.depth).",
            remedy="Raise the limit, unless the agents call one another in a circle.",
        )
    return spec if depth == spec.depth else msgspec.structs.replace(spec, depth=depth)
