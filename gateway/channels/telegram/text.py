"""Prepares answers for Telegram: splits long ones into messages, and formats code as code.

Telegram counts UTF-16 units without the formatting:
https://core.telegram.org/bots/api#sendmessage, https://core.telegram.org/api/entities.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

#: UTF-16 units of one message, at most
MAX_MESSAGE_UNITS = 4096
#: where a part may end, the best place first
_SPLIT_POINTS = ("\n\n", "\n", ". ", " ")
_TAGS = {"strong": "b", "em": "i", "s": "s"}
_FORMAT_MARKS = frozenset("*_~`\\")
#: the opening line of a fenced code block, also inside of a list: https://spec.commonmark.org/0.31.2/#fenced-code-blocks
_FENCE_PATTERN = re.compile(
    r"(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?P<mark>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)"
)
#: characters of the mark that closes a block which goes on in the next message
MAX_MARK_CHARACTERS = 7
#: characters of an opening line that are repeated where a block goes on in the next message
MAX_FENCE_CHARACTERS = 100


class Fence(NamedTuple):
    """The opening of a fenced code block."""

    indent: str
    mark: str
    info: str

    def is_closed_by(self, line: str) -> bool:
        """Return whether a line closes the block: at least as many of the same mark, and nothing else."""
        bare = line.strip()
        return len(bare) >= len(self.mark) and not bare.strip(self.mark[0])


def parse_fence(line: str) -> Fence | None:
    """Return the opening of a code block, if a line is one."""
    found = _FENCE_PATTERN.fullmatch(line)
    return None if found is None else Fence(found["indent"], found["mark"], found["info"])


def find_open_fence(text: str) -> Fence | None:
    """Return the opening of the code block that is still open at the end of a text."""
    fence: Fence | None = None
    for line in text.split("\n"):
        if fence is None:
            fence = parse_fence(line)
        elif fence.is_closed_by(line):
            fence = None
    return fence


def count_units(text: str) -> int:
    """Return the length of a text as Telegram counts it."""
    return len(text) + sum(character > "\uffff" for character in text)


def split_text(text: str, longest: int = MAX_MESSAGE_UNITS) -> list[str]:
    """Split a text into parts of at most `longest` units; only white space at the cuts is left out.

    A fenced code block that is cut ends in one part and starts again in the next.
    """
    rest, parts = text.strip(), []
    while len(rest) > longest or count_units(rest) > longest:
        head = _cut_head(rest, longest - MAX_MARK_CHARACTERS - 1)  # room for the end of a block
        rest = rest[len(head) :].lstrip("\n") if head.endswith("\n") else rest[len(head) :].lstrip()
        head = head.rstrip()
        fence = find_open_fence(head)
        if fence is not None:
            mark = fence.mark[:MAX_MARK_CHARACTERS]
            head, rest = f"{head}\n{mark}", f"{mark}{fence.info[:MAX_FENCE_CHARACTERS]}\n{rest}"
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
    """Return a text as Telegram's HTML, with code, bold, italic and struck words; None if it has none of these.

    All other marks stay as they are written.
    """
    made: list[str] = []
    prose: list[str] = []
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        fence = parse_fence(lines[number])
        end = next((at for at in range(number + 1, len(lines)) if fence and fence.is_closed_by(lines[at])), None)
        if fence is None or end is None:
            prose.append(lines[number])
            number += 1
            continue
        code = "\n".join(_remove_indent(line, len(fence.indent)) for line in lines[number + 1 : end])
        made += [_format_prose(prose), _format_block(fence, code)]
        prose, number = [], end + 1
    made.append(_format_prose(prose))
    if made == [html.escape(text, quote=False)]:
        return None
    shown = "\n".join(filter(None, made))
    return shown if re.sub(r"<[^>]*>", "", shown).strip() else None


def _format_block(fence: Fence, code: str) -> str:
    """Return a code block; what stands before it in its line, such as the number of a list's item, stays."""
    before = fence.indent.strip()
    return (f"{before}\n" if before else "") + f"<pre>{html.escape(code, quote=False)}\n</pre>"


def _remove_indent(line: str, longest: int) -> str:
    """Return a line without the indent of its block, as far as it has it."""
    spaces = len(line) - len(line.lstrip(" \t"))
    return line[min(spaces, longest) :]


def _format_prose(lines: Sequence[str]) -> str:
    """Return lines without code blocks as HTML. Marks do not reach beyond their paragraph."""
    paragraphs = re.split(r"(\n[ \t]*\n\s*)", "\n".join(lines))
    return "".join(part if not part.strip() else _format_paragraph(part) for part in paragraphs)


def _format_paragraph(text: str) -> str:
    return "".join(_render_token(token) for token in _load_parser().parseInline(text)[0].children or ())


def _render_token(token: Token) -> str:
    match token.type:
        case "code_inline":
            return f"<code>{html.escape(token.content, quote=False)}</code>"
        case "strong_open" | "strong_close" | "em_open" | "em_close" | "s_open" | "s_close":
            if token.markup == "__":  # more often part of a name, such as `__init__`, than meant to be bold
                return token.markup
            name, end = token.type.split("_")
            return f"<{'/' if end == 'close' else ''}{_TAGS[name]}>"
        case "text_special" if token.content not in _FORMAT_MARKS:
            return html.escape(token.markup, quote=False)  # a backslash before anything else is meant
        case _:
            return html.escape(token.content, quote=False)


@cache
def _load_parser() -> MarkdownIt:
    """Return a parser of the marks that Telegram can show. It is loaded when the first answer is sent."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("zero").enable(["backticks", "emphasis", "strikethrough", "escape"])
    parser.inline.ruler.disable(["newline"], True)
    parser.core.ruler.disable(["normalize", "text_join"], True)
    return parser


def format_draft(text: str) -> str:
    """Return a growing answer as one message, cut if it is too long."""
    text = text.strip()
    return text if count_units(text) < MAX_MESSAGE_UNITS - 2 else _cut_head(text, MAX_MESSAGE_UNITS - 2).rstrip() + " …"
