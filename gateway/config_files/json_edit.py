"""Changes one value in the text of a config file. All other characters stay: comments, blanks, order, line breaks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from gateway.config_files.comments import blank_comments, find_comments
from gateway.config_files.json_tree import Member, Node, parse_tree, skip_blanks

#: one level of indentation in a file that shows none
DEFAULT_INDENT = "  "
#: characters of a list that is written on one line, at most
MAX_INLINE_LIST_CHARACTERS = 80

_LINE_BREAK = re.compile(r"\r\n|\n|\r")


def set_value(text: str, path: Sequence[str | int], value: Any) -> str:
    """Return the text with another value at a path; objects on the way that are missing are made.

    Args:
        text: of a config file that `decode_config` accepts.
        path: names, and numbers of list items; the number after the last one appends an item.
    """
    return _Editor(text).set_value(path, value)


def remove_value(text: str, path: Sequence[str | int]) -> str:
    """Return the text without the value at a path, which exists. Comments stay."""
    return _Editor(text).remove_value(path)


class _Editor:
    """One text, with what is known of its form."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: the same length, without comments
        self._plain = blank_comments(text)
        self._root = parse_tree(self._plain)
        self._comments = dict(find_comments(text))
        found = _LINE_BREAK.search(text)
        self._break = found[0] if found else "\n"
        self._unit = self._find_indent(self._root.members[0].start) if self._root.members else ""
        self._unit = self._unit or DEFAULT_INDENT

    def set_value(self, path: Sequence[str | int], value: Any) -> str:
        node = self._root
        for at, step in enumerate(path):
            found = node.find_member(step)
            if found is None:
                for missing in reversed(path[at + 1 :]):
                    value = {missing: value} if isinstance(missing, str) else [value]
                return self._add_member(node, step if isinstance(step, str) else None, value)
            node = found.value
        indent = self._find_indent(node.start) if self._begins_line(node) else None
        return self._replace(node.start, node.end, self._write(value, indent))

    def remove_value(self, path: Sequence[str | int]) -> str:
        node = self._root
        for step in path[:-1]:
            found = node.find_member(step)
            assert found is not None
            node = found.value
        gone = node.find_member(path[-1])
        assert gone is not None
        number = node.members.index(gone)
        comma = skip_blanks(self._plain, gone.end)
        if self._plain[comma] != ",":  # the last one: the comma before it goes
            comma = skip_blanks(self._plain, node.members[number - 1].end) if number else -1
        return self._cut(gone, comma)

    def _cut(self, gone: Member, comma: int) -> str:
        """Return the text without a member and one comma; a line that has nothing else goes, too."""
        text = self._text
        start, end = gone.start, gone.end
        before = text[:comma] + text[comma + 1 : start] if 0 <= comma < start else text[:start]
        after = text[end:comma] + text[comma + 1 :] if comma >= end else text[end:]
        left, right = before.rstrip(" \t"), after.lstrip(" \t")
        if (not left or left[-1] in "\r\n") and (found := _LINE_BREAK.match(right)):
            return left + right[found.end() :]
        if left and left[-1] in "{[," and comma < start and right[:1] in ("}", "]"):
            return left + right  # {"a": 1} becomes {}
        if comma >= end:
            return before + right
        return (left if right[:1] in ("}", "]", "\r", "\n") and before != text[:start] else before) + after

    def _add_member(self, node: Node, name: str | None, value: Any) -> str:
        outer = self._find_indent(node.start)
        is_spread = not node.members or _LINE_BREAK.search(self._plain[node.start : node.members[0].start])
        if not is_spread:
            last = node.members[-1]
            return self._replace(last.end, last.end, f", {self._name(name)}{self._write(value, None)}")
        indent = self._find_indent(node.members[-1].start) if node.members else outer + self._unit
        written = f"{self._break}{indent}{self._name(name)}{self._write(value, indent)}"
        comma_at = node.members[-1].end if node.members else node.start + 1
        at = self._skip_rest_of_line(comma_at)
        rest = self._text[at:]
        if not _LINE_BREAK.match(rest.lstrip(" \t")):
            rest = self._break + outer + rest.lstrip(" \t")
        comma = "," if node.members else ""
        return self._text[:comma_at] + comma + self._text[comma_at:at] + written + rest

    def _skip_rest_of_line(self, at: int) -> int:
        """Return the end of the comments that follow a value on its line."""
        end = at
        while True:
            while at < len(self._text) and self._text[at] in " \t":
                at += 1
            closed = self._comments.get(at)
            if closed is None or _LINE_BREAK.search(self._text[at:closed]):
                return end
            at = end = closed

    def _write(self, value: Any, indent: str | None) -> str:
        """Return a value as JSON; on one line if `indent` is None, else its further lines have that indentation."""
        short = json.dumps(value, ensure_ascii=False)
        fits = isinstance(value, list) and len(short) <= MAX_INLINE_LIST_CHARACTERS
        if indent is None or not isinstance(value, (dict, list)) or not value or fits:
            return short
        lines = json.dumps(value, ensure_ascii=False, indent=self._unit).split("\n")
        return f"{self._break}{indent}".join(lines)

    @staticmethod
    def _name(name: str | None) -> str:
        return "" if name is None else f"{json.dumps(name, ensure_ascii=False)}: "

    def _begins_line(self, node: Node) -> bool:
        """Return whether the member whose value this is stands on a line of its own."""
        start = self._line_start(node.start)
        before = self._plain[start : node.start].strip()
        return not before or (before.endswith(":") and before.startswith('"') and self._ends_line(node.end))

    def _ends_line(self, at: int) -> bool:
        rest = self._plain[at:].lstrip(" \t,")
        return not rest or rest[0] in "\r\n"

    def _line_start(self, at: int) -> int:
        return max(self._text.rfind("\n", 0, at), self._text.rfind("\r", 0, at)) + 1

    def _find_indent(self, at: int) -> str:
        """Return the blanks with which the line of a position begins."""
        found = re.match(r"[ \t]*", self._text[self._line_start(at) :])
        assert found is not None
        return found[0]

    def _replace(self, start: int, end: int, new: str) -> str:
        return self._text[:start] + new + self._text[end:]
