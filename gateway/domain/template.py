"""Templates: texts with placeholders that are filled from a payload. There are only paths; nothing is executed.

`{pull_request.title}` is the value at this path of the payload; a number is an index in a list: `{commits.0.id}`.
`{a.b|text}` becomes `text` if the payload has no such value. `{{` and `}}` are literal braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

#: longest text after filling
LONGEST = 1_000_000

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PATH = re.compile(r"[\w$@/-]+(\.[\w$@/-]+)*")


class Unfit(ValueError):
    """The template is not valid, or the payload lacks a value that it needs."""


class Place(NamedTuple):
    """A place in a template that is filled from the payload."""

    path: str
    #: used when the payload has no value; None makes that an error
    default: str | None


class Template:
    """A text with placeholders."""

    def __init__(self, parts: Sequence[str | Place]) -> None:
        self._parts = parts

    @classmethod
    def parse(cls, text: str) -> Template:
        """Parse the text of a template.

        Raises:
            TemplateError: a brace has no partner, or a placeholder has no valid path.
        """
        parts: list[str | Place] = []
        end = 0
        for found in _TOKEN.finditer(text):
            parts.append(text[end : found.start()])
            end = found.end()
            parts.append(_read(found))
        return cls([part for part in [*parts, text[end:]] if part])

    def fill(self, payload: Mapping[str, Any]) -> str:
        """Return the text with its placeholders filled.

        Raises:
            TemplateError: the payload lacks a value that has no default, or the text becomes too long.
        """
        parts: list[str] = []
        length = 0
        for part in self._parts:
            parts.append(part if isinstance(part, str) else _filling(part, payload))
            length += len(parts[-1])
            if length > LONGEST:
                raise Unfit(f"the text is longer than {LONGEST} characters")
        return "".join(parts)


def _read(found: re.Match[str]) -> str | Place:
    token, inside = found[0], found[1]
    if token in ("{{", "}}"):
        return token[0]
    if inside is None:
        raise Unfit(f"there is a single {token!r} at position {found.start() + 1}; write it twice for a literal brace")
    path, bar, default = inside.partition("|")
    if not _PATH.fullmatch(path):
        raise Unfit(f"{token[:100]!r} is not a path: write names separated by dots, such as {{data.chat_id}}")
    return Place(path, default if bar else None)


def _filling(place: Place, payload: Mapping[str, Any]) -> str:
    value: Any = payload
    for step in place.path.split("."):
        value = _inner(value, step)
    if value is None:
        if place.default is None:
            raise Unfit(f"the payload has no value at {place.path!r}")
        return place.default
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _inner(value: Any, step: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 9:
        return value[int(step)] if int(step) < len(value) else None
    return None
