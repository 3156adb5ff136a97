"""Who submits a run: the caller of the current request, and how deep agents have called one another.

A run that an agent submits to its own gateway is one deeper than the run that the agent works on.
"""

from __future__ import annotations

from contextvars import ContextVar

import msgspec

from gateway.domain.run import RunSpec
from gateway.errors import TooDeep

#: how many runs are above the run that the current request submits
CALLER_DEPTH: ContextVar[int] = ContextVar("caller_depth", default=0)
#: name of the token of the current request; None outside of requests, and for requests without a token
CALLER_NAME: ContextVar[str | None] = ContextVar("caller_name", default=None)
#: `traceparent` of the current request, where runs are traced
CALLER_TRACE: ContextVar[str | None] = ContextVar("caller_trace", default=None)


def apply_caller(spec: RunSpec, limit: int) -> RunSpec:
    """Return a run with the call depth of the current request, who submits it, and the place in its trace.

    Raises:
        TooDeep: it is deeper than `limit`.
    """
    depth = max(spec.depth, CALLER_DEPTH.get())
    if depth > limit:
        raise TooDeep(
            f"agents have asked one another {depth} deep, and {limit} is the limit (limits.depth).",
            remedy="Raise the limit, unless the agents call one another in a circle.",
        )
    name = spec.submitted_by or CALLER_NAME.get()
    trace = CALLER_TRACE.get()
    if depth == spec.depth and name == spec.submitted_by and trace == spec.traceparent:
        return spec
    return msgspec.structs.replace(spec, depth=depth, submitted_by=name, traceparent=trace)
