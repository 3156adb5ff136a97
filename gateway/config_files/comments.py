"""Comments in a config file: `//` to the end of the line, and `/* … */`, as in the settings of many editors.

Standard library only, so that `gateway status` is quick.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: a string, which may contain the marks of comments, or a comment; each may lack its end
_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z|\\\Z)|//[^\r\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
_NOT_LINE_BREAK = re.compile(r"[^\r\n]")


def blank_comments(text: str) -> str:
    """Return a text with blanks in place of its comments, so that all positions and lines stay.

    A comment without an end stays, and is no JSON.
    """
    if "//" not in text and "/*" not in text:
        return text
    return _STRING_OR_COMMENT.sub(_blank_comment, text)


def find_comments(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each comment begins and ends."""
    for found in _STRING_OR_COMMENT.finditer(text):
        if _is_comment(found):
            yield found.span()


def _is_comment(found: re.Match[str]) -> bool:
    word = found[0]
    return word.startswith("//") or (word.startswith("/*") and word.endswith("*/") and len(word) > 3)


def _blank_comment(found: re.Match[str]) -> str:
    return _NOT_LINE_BREAK.sub(" ", found[0]) if _is_comment(found) else found[0]
