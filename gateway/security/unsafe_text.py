"""Text from outside: agents, chats, servers, names. Some of its characters take over a terminal, or hide what it says.

These are the controls of ASCII and of Latin-1 (C0, DEL, C1: https://www.rfc-editor.org/rfc/rfc20 and ECMA-48), and
the marks that change the direction of a text (https://www.unicode.org/reports/tr9/, and "Trojan Source",
CVE-2021-42574).
"""

from __future__ import annotations

import re
from typing import TextIO

#: the inside of a character class of a regular expression, of Python and of JSON Schema
UNSAFE_CHARACTERS = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"

_UNSAFE = re.compile(rf"(?![\t\n])[{UNSAFE_CHARACTERS}]")


def replace_unsafe(text: str) -> str:
    """Return a text with U+FFFD in place of its unsafe characters; tabs and the ends of lines stay."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def escape_unsafe(document: str) -> str:
    r"""Return a JSON document with its unsafe characters as `\u` escapes: the same value, safe to show."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def protect_terminal(text: str, stream: TextIO) -> str:
    """Return a text for a stream: on a terminal without unsafe characters, in a pipe unchanged, because it is data."""
    return replace_unsafe(text) if stream.isatty() else text
