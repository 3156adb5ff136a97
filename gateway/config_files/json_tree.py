"""Where each value of a JSON text stands. For texts that `decode_config` accepts; it finds no mistakes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

_BLANKS = re.compile(r"[ \t\r\n]*")
_decode_scalar = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class Member:
    """One value in an object or a list."""

    #: where its name begins; in a list, where its value does
    start: int
    value: Node
    #: its name; None in a list
    name: str | None = None

    @property
    def end(self) -> int:
        return self.value.end


@dataclass(frozen=True)
class Node:
    """A value: where it begins and ends, and what it contains."""

    start: int
    end: int
    #: `{`, `[`, or empty for a text, a number, a truth value or null
    opener: str = ""
    members: list[Member] = field(default_factory=list)

    def find_member(self, step: str | int) -> Member | None:
        """Return the member with a name, or with a number in a list; None if there is none."""
        if isinstance(step, str):
            return next((one for one in self.members if one.name == step), None)
        return self.members[step] if self.opener == "[" and 0 <= step < len(self.members) else None


def skip_blanks(text: str, at: int) -> int:
    """Return the position of the next character that is no blank."""
    found = _BLANKS.match(text, at)
    assert found is not None
    return found.end()


def parse_tree(text: str, at: int = 0) -> Node:
    """Return the value that begins at a position, or after the blanks there.

    Args:
        text: JSON, whose comments are blanks.
    """
    start = skip_blanks(text, at)
    opener = text[start]
    if opener not in "{[":
        return Node(start, _decode_scalar(text, start)[1])
    members: list[Member] = []
    at = skip_blanks(text, start + 1)
    while text[at] not in "}]":
        name, begin = None, at
        if opener == "{":
            name, at = _decode_scalar(text, at)
            at = skip_blanks(text, at) + 1  # the colon
        value = parse_tree(text, at)
        members.append(Member(begin, value, name))
        at = skip_blanks(text, value.end)
        if text[at] == ",":
            at = skip_blanks(text, at + 1)
    return Node(start, at + 1, opener, members)
