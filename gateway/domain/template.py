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
MAX_FILLED_CHARACTERS = 1_000_000

_TOKEN_PATTERN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PATH_PATTERN = re.compile(r"[\w$@/-]+(\.[\w$@/-]+)*")


class TemplateError(ValueError):
    """The template is not valid, or the payload lacks a value that it needs."""


class Placeholder(NamedTuple):
    """A place in a template that is filled from the payload."""

    path: str
    #: used when the payload has no value; None makes that an error
    default: str | None


class Template:
    """A text with placeholders."""

    def __init__(self, parts: Sequence[str | Placeholder]) -> None:
        self._parts = parts

    @classmethod
    def parse_text(cls, text: str) -> Template:
        """Parse the text of a template.

        Raises:
            TemplateError: a brace has no partner, or a placeholder has no valid path.
        """
        parts: list[str | Placeholder] = []
        end = 0
        for found in _TOKEN_PATTERN.finditer(text):
            parts.append(text[end : found.start()])
            end = found.end()
            parts.append(_parse_token(found))
        return cls([part for part in [*parts, text[end:]] if part])

    def fill_placeholders(self, payload: Mapping[str, Any]) -> str:
        """Return the text with its placeholders filled.

        Raises:
            TemplateError: the payload lacks a value that has no default, or the text becomes too long.
        """
        parts: list[str] = []
        length = 0
        for part in self._parts:
            parts.append(part if isinstance(part, str) else _fill_placeholder(part, payload))
            length += len(parts[-1])
            if length > MAX_FILLED_CHARACTERS:
                raise TemplateError(f"the text is longer than {MAX_FILLED_CHARACTERS} characters")
        return "".join(parts)


def _parse_token(found: re.Match[str]) -> str | Placeholder:
    token, inside = found[0], found[1]
    if token in ("{{", "}}"):
        return token[0]
    if inside is None:
        raise TemplateError(
            f"there is a single {token!r} at position {found.start() + 1}; write it twice for a literal brace"
        )
    path, bar, default = inside.partition("|")
    if not _PATH_PATTERN.fullmatch(path):
        raise TemplateError(f"{token[:100]!r} is not a path: write names separated by dots, such as {{data.chat_id}}")
    return Placeholder(path, default if bar else None)


def _fill_placeholder(place: Placeholder, payload: Mapping[str, Any]) -> str:
    value: Any = payload
    for step in place.path.split("."):
        value = _step_into(value, step)
    if value is None:
        if place.default is None:
            raise TemplateError(f"the payload has no value at {place.path!r}")
        return place.default
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _step_into(value: Any, step: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 9:
        return value[int(step)] if int(step) < len(value) else None
    return None
