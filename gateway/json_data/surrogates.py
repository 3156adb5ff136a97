"""What other programs get wrong when they write JSON: lone surrogates, and a byte order mark at its beginning.

A lone surrogate comes of cutting a text between the two escapes of one character. JavaScript writes it as an
escape. UTF-8 cannot encode it: such text can be neither sent nor stored, and strict parsers refuse the whole document.
"""

from __future__ import annotations

import codecs
import re

# A backslash that is escaped itself begins no escape; a pair is a whole character. The pattern begins with what all
# escapes begin with: so it passes over a file in base64 ten times as fast.
_SURROGATE_ESCAPES = re.compile(rb"\\(?:\\|u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..))")
_REPLACEMENT_ESCAPE = rb"\ufffd"


def replace_lone_surrogates(data: bytes) -> bytes:
    """Return a JSON document with U+FFFD in place of every lone surrogate."""
    return (
        _SURROGATE_ESCAPES.sub(lambda found: _REPLACEMENT_ESCAPE if found[1] else found[0], data)
        if b"\\u" in data
        else data
    )


def mend_document(data: bytes) -> bytes:
    """Return a JSON document that somebody sent, without a byte order mark and without lone surrogates."""
    return replace_lone_surrogates(data.removeprefix(codecs.BOM_UTF8))
