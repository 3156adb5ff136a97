"""How clients see a time."""

from __future__ import annotations

from gateway.domain import times


def render_time(at: int | None) -> str | None:
    """Return a time as RFC 3339 text; None stays None."""
    return None if at is None else times.format_rfc3339(at)
