"""The ids that we mint, and the names that we accept.

Run ids are ULIDs (https://github.com/ulid/spec): 48 bits of milliseconds and 80 random bits in
Crockford's base 32, so they sort by time and can be cut to a unique prefix by a person.
"""

from __future__ import annotations

import re
import secrets

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

# `(?!\n)`: Python's `$` would let a line feed follow; JSON Schema's does not.

#: agents, channels and other slugs; without a colon, which divides a session key
SLUG = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$(?!\n)"

#: slugs of agents that are made through the API
AGENT_SLUG = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,49}$(?!\n)"

#: what a caller may name as a model
MODEL = r"^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,127}$(?!\n)"


def ulid(now: int) -> str:
    """Return a new ULID for `now`, in milliseconds since 1970 UTC."""
    value = (now & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def is_slug(text: str) -> bool:
    return re.match(SLUG, text) is not None
