"""Half characters in other programs' JSON, where they have cut a text between the two escapes of one.

JavaScript writes such a half as an escape of its own. No UTF-8 stands for it, so that whatever is read
from it can be neither sent nor kept, and strict readers refuse the whole document.
"""

from __future__ import annotations

import re

# A backslash that is escaped itself begins no escape; a pair is a whole character.
_ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)")
_UNKNOWN = rb"\ufffd"


def mended(data: bytes) -> bytes:
    """Return a JSON document with U+FFFD in place of every half character."""
    return _ESCAPES.sub(lambda found: _UNKNOWN if found[1] else found[0], data) if b"\\u" in data else data
