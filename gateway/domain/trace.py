"""The trace of a run: its id, the ids of its spans, and the `traceparent` that callers and agents exchange.

All ids are derived from the id of the run. So every process that works on a run names the same trace, and nothing
has to be stored: not for a retry after a crash, and not between the members of a fleet.
"""

from __future__ import annotations

import hashlib
import re

from msgspec import Struct

#: the part of a run that is all of it
WHOLE_RUN = "run"
#: variable and, in lower case, header that carry a trace context: https://www.w3.org/TR/trace-context/
TRACEPARENT_VARIABLE = "TRACEPARENT"
#: characters of a `traceparent` that are read
MAX_TRACEPARENT_CHARACTERS = 512

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
)
_SAMPLED_FLAG = 0x01


class TraceContext(Struct, frozen=True):
    """A place in a trace: a span that others may have as their parent."""

    #: 32 hexadecimal digits
    trace_id: str
    #: 16 hexadecimal digits
    span_id: str
    #: whether the trace is recorded
    is_sampled: bool = True

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED_FLAG if self.is_sampled else 0:02x}"


class TraceCounts(Struct):
    """What became of traces since the start of the process. A run is one, and so is each try of a delivery."""

    sent: int = 0
    #: the collector refused them, or did not answer for too long
    failed: int = 0
    #: too many waited
    dropped: int = 0


def parse_traceparent(text: str) -> TraceContext | None:
    """Return the context that a `traceparent` names; None if it names none."""
    found = _TRACEPARENT.match(text[:MAX_TRACEPARENT_CHARACTERS].strip())
    if found is None or found["version"] == "ff" or not int(found["trace"], 16) or not int(found["span"], 16):
        return None
    rest = found.string[found.end() :]
    if rest and (found["version"] == "00" or not rest.startswith("-")):  # later versions may have more fields
        return None
    return TraceContext(found["trace"], found["span"], bool(int(found["flags"], 16) & _SAMPLED_FLAG))


def read_traceparent(text: str | None) -> str | None:
    """Return the `traceparent` that a header or a variable has; None if it has none that is right."""
    context = parse_traceparent(text or "")
    return None if context is None else context.traceparent


def derive_trace_id(run_id: str) -> str:
    """Return the id of the trace of a run that is not part of its caller's trace."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:32]


def derive_span_id(run_id: str, part: str) -> str:
    """Return the id of the span of a part of a run."""
    return hashlib.sha256(f"{run_id}/{part}".encode()).hexdigest()[:16]


def find_context(run_id: str, part: str, traceparent: str | None, ratio: float) -> TraceContext:
    """Return the context of the span of a part of a run.

    Args:
        traceparent: what the caller of the run sent: then the run is in the caller's trace.
        ratio: the share of the traces that are recorded, unless the caller has decided.
    """
    parent = parse_traceparent(traceparent or "")
    trace_id = derive_trace_id(run_id) if parent is None else parent.trace_id
    is_sampled = is_in_sample(trace_id, ratio) if parent is None else parent.is_sampled
    return TraceContext(trace_id, derive_span_id(run_id, part), is_sampled)


def name_attempt(number: int) -> str:
    """Return the part of a run that is an attempt."""
    return f"attempt/{number}"


def is_in_sample(trace_id: str, ratio: float) -> bool:
    """Return whether a trace belongs to a share of all traces; every process decides the same."""
    return int(trace_id[16:], 16) < round(ratio * (1 << 64))
