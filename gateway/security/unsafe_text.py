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

#: what a name may not have, in the same form: characters that nobody sees, and ends of lines, so that two names that
#: differ look different. Text keeps them: some scripts break words at U+200B. The tags from U+E0020 on, which flags
#: such as that of Wales are made of, and the variation selectors, which emoji need, may be in names, too.
UNSAFE_NAME_CHARACTERS = (
    UNSAFE_CHARACTERS
    + r"\xad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    r"\ufff0-\ufffb"
)
#: characters that join or part their neighbours, in Persian or Hindi words and in emoji: a name has them only inside
_JOINERS = r"\u200c\u200d"

_UNSAFE = re.compile(rf"(?![\t\n])[{UNSAFE_CHARACTERS}]")


def name_pattern(max_length: int | None = None, *, refused: str = "") -> str:
    """Return the regular expression of a name, of Python and of JSON Schema.

    Args:
        max_length: most characters of a name that has one at least; None for a name that may be empty, and whose
            length is checked elsewhere.
        refused: further characters that it may not have.
    """
    inside = f"[^{refused}{UNSAFE_NAME_CHARACTERS}]"
    end = f"[^{refused}{UNSAFE_NAME_CHARACTERS}{_JOINERS}]"
    # `(?!\n)`: Python's `$` also matches before a final line feed; JSON Schema's does not.
    if max_length is None:
        return rf"^({end}({inside}*{end})?)?$(?!\n)"
    return rf"^{end}({inside}{{0,{max_length - 2}}}{end})?$(?!\n)"


def replace_unsafe(text: str) -> str:
    """Return a text with U+FFFD in place of its unsafe characters; tabs and the ends of lines stay."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def escape_unsafe(document: str) -> str:
    r"""Return a JSON document with its unsafe characters as `\u` escapes: the same value, safe to show."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def protect_terminal(text: str, stream: TextIO) -> str:
    """Return a text for a stream: on a terminal without unsafe characters, in a pipe unchanged, because it is data."""
    return replace_unsafe(text) if stream.isatty() else text
