"""The ids that the gateway generates, and the patterns of the names that it accepts.

Run ids are ULIDs (https://github.com/ulid/spec): 48 bits of milliseconds and 80 random bits in
Crockford's base 32. They sort by time, and people can shorten them to a unique prefix.
"""

from __future__ import annotations

import re
import secrets

_CROCKFORD_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DIGIT_PAIRS = [high + low for high in _CROCKFORD_DIGITS for low in _CROCKFORD_DIGITS]

# `(?!\n)`: Python's `$` also matches before a final line feed; JSON Schema's does not.

#: agents, channels and other slugs; without a colon, which separates the parts of a session key
SLUG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$(?!\n)"

#: slugs of agents that are created through the API
AGENT_SLUG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,49}$(?!\n)"

#: names of models
MODEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,127}$(?!\n)"


def make_ulid(now: int) -> str:
    """Return a new ULID for a time in milliseconds since 1970 UTC."""
    return _encode_ulid((now & (1 << 48) - 1) << 80 | secrets.randbits(80))


def make_first_ulid(at: int) -> str:
    """Return the lowest ULID of a time in milliseconds since 1970 UTC; of times before, the lowest one of all."""
    return _encode_ulid(max(0, at) << 80)


def _encode_ulid(value: int) -> str:
    return "".join([_DIGIT_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])


def is_slug(text: str) -> bool:
    return re.match(SLUG_PATTERN, text) is not None
