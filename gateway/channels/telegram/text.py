"""Answers as Telegram takes them: in parts that are not too long, with code shown as code.

Telegram counts UTF-16 units, after it has read the formatting:
https://core.telegram.org/bots/api#sendmessage, https://core.telegram.org/api/entities.
"""

from __future__ import annotations

import html
import re

#: units of one message
LONGEST = 4096
#: where a part may end, the best first, and how much of a part that may cost
_ENDS = ("\n\n", "\n", ". ", " ")
_FENCE = re.compile(r"^```[^\n`]*$", re.MULTILINE)
_CODE = re.compile(r"^```[^\n`]*\n(.*?)^```[ \t]*$|`([^`\n]+)`|\*\*([^*\n]+)\*\*", re.MULTILINE | re.DOTALL)


def units(text: str) -> int:
    """Return the length of a text as Telegram counts it."""
    return len(text) + sum(character > "\uffff" for character in text)


def split(text: str, longest: int = LONGEST) -> list[str]:
    """Return a text in parts that are not too long; nothing of it is left out but space around the cuts.

    A fenced block of code that is cut is ended, and begun again in the next part.
    """
    rest, parts = text.strip(), []
    while units(rest) > longest:
        head = _head(rest, longest - 8)  # room for a fence
        rest = rest[len(head) :].lstrip("\n") if head.endswith("\n") else rest[len(head) :].lstrip()
        head = head.rstrip()
        if len(_FENCE.findall(head)) % 2:
            opening = _FENCE.findall(head)[-1]
            head, rest = f"{head}\n```", f"{opening[:100]}\n{rest}"
        parts += [head] if head else []
    return [*parts, rest] if rest else parts


def _head(text: str, longest: int) -> str:
    """Return the beginning of a text, at most so long, up to where it is best cut."""
    at, count = 0, 0
    while at < len(text) and count + (step := 2 if text[at] > "\uffff" else 1) <= longest:
        at, count = at + 1, count + step
    for end in _ENDS:
        found = text.rfind(end, at // 2, at)
        if found > 0:
            return text[: found + len(end)]
    return text[:at]


def formatted(text: str) -> str | None:
    """Return a text in Telegram's HTML, its code and bold words as such; None if it has none."""
    made, end = [], 0
    for found in _CODE.finditer(text):
        made.append(html.escape(text[end : found.start()], quote=False))
        end = found.end()
        block, code, bold = (None if part is None else html.escape(part, quote=False) for part in found.groups())
        if block is not None:
            made.append(f"<pre>{block}</pre>")
        else:
            made.append(f"<code>{code}</code>" if code is not None else f"<b>{bold}</b>")
    if not made:
        return None
    return "".join([*made, html.escape(text[end:], quote=False)])


def draft(text: str) -> str:
    """Return what is shown of an answer that is being written: one message, cut if need be."""
    text = text.strip()
    return text if units(text) < LONGEST - 2 else _head(text, LONGEST - 2).rstrip() + " …"
