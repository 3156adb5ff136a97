"""Prepares answers for Telegram: splits long ones into messages, and formats code as code.

Telegram counts UTF-16 units without the formatting:
https://core.telegram.org/bots/api#sendmessage, https://core.telegram.org/api/entities.
"""

from __future__ import annotations

import html
import re

#: UTF-16 units of one message, at most
MAX_MESSAGE_UNITS = 4096
#: where a part may end, the best place first
_SPLIT_POINTS = ("\n\n", "\n", ". ", " ")
_FENCE_PATTERN = re.compile(r"^```[^\n`]*$", re.MULTILINE)
_FORMAT_PATTERN = re.compile(r"^```[^\n`]*\n(.*?)^```[ \t]*$|`([^`\n]+)`|\*\*([^*\n]+)\*\*", re.MULTILINE | re.DOTALL)


def count_units(text: str) -> int:
    """Return the length of a text as Telegram counts it."""
    return len(text) + sum(character > "\uffff" for character in text)


def split_text(text: str, longest: int = MAX_MESSAGE_UNITS) -> list[str]:
    """Split a text into parts of at most `longest` units; only white space at the cuts is left out.

    A fenced code block that is cut ends in one part and starts again in the next.
    """
    rest, parts = text.strip(), []
    while count_units(rest) > longest:
        head = _cut_head(rest, longest - 8)  # room for a fence
        rest = rest[len(head) :].lstrip("\n") if head.endswith("\n") else rest[len(head) :].lstrip()
        head = head.rstrip()
        if len(_FENCE_PATTERN.findall(head)) % 2:
            opening = _FENCE_PATTERN.findall(head)[-1]
            head, rest = f"{head}\n```", f"{opening[:100]}\n{rest}"
        parts += [head] if head else []
    return [*parts, rest] if rest else parts


def _cut_head(text: str, longest: int) -> str:
    """Return the start of a text, up to the best place to cut within `longest` units."""
    at, count = 0, 0
    while at < len(text) and count + (step := 2 if text[at] > "\uffff" else 1) <= longest:
        at, count = at + 1, count + step
    for end in _SPLIT_POINTS:
        found = text.rfind(end, at // 2, at)
        if found > 0:
            return text[: found + len(end)]
    return text[:at]


def format_html(text: str) -> str | None:
    """Return a text as Telegram's HTML, with code and bold words; None if it has neither."""
    made, end = [], 0
    for found in _FORMAT_PATTERN.finditer(text):
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


def format_draft(text: str) -> str:
    """Return a growing answer as one message, cut if it is too long."""
    text = text.strip()
    return text if count_units(text) < MAX_MESSAGE_UNITS - 2 else _cut_head(text, MAX_MESSAGE_UNITS - 2).rstrip() + " …"
