"""The links, the anchors and the blocks of code of a Markdown page, as on GitHub."""

from __future__ import annotations

import re
from collections import Counter

_FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_LINK = re.compile(r"\]\(([^()\s]+)[^()]*\)|^\[[^\]]+\]: *(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)
_NAMED = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")
_SHOWN = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def links(page: str) -> list[str]:
    """Return the targets of a page's links, except links in code."""
    text = _CODE.sub("", _FENCE.sub("", page))
    return [inline or reference for inline, reference in _LINK.findall(text)]


def code_blocks(page: str, language: str) -> list[str]:
    """Return a page's blocks of code in a language."""
    return [code for name, code in _BLOCK.findall(page) if name == language]


def anchors(page: str) -> set[str]:
    """Return the anchors of a page: those of its headings, and those that are written by hand."""
    text = _FENCE.sub("", page)
    seen: Counter[str] = Counter()
    found = set(_NAMED.findall(text))
    for heading in _HEADING.findall(text):
        plain = slug(heading)
        found.add(f"{plain}-{seen[plain]}" if seen[plain] else plain)
        seen[plain] += 1
    return found


def slug(heading: str) -> str:
    """Return the anchor that GitHub makes from a heading.

    Source: https://github.com/gjtorikian/html-pipeline/blob/main/lib/html_pipeline/node_filter/table_of_contents_filter.rb
    """
    shown = _SHOWN.sub(r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
