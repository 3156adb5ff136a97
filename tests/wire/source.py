"""What only the source says: names in calls, in strings, in dictionaries."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

#: what structlog's loggers are called with, and what hands an event on under another name
_LOGGING = re.compile(r"debug|info|warning|error|exception|critical|log|_?log\w*")
#: an event: `noun.verb`
_EVENT = re.compile(r"[a-z_]+(\.[a-z_*-]+)+")
#: an event in a line that is put together by hand
_BY_HAND = re.compile(rb'"event": ?"([a-z_.-]+)"')


@cache
def nodes(*packages: str) -> tuple[ast.AST, ...]:
    """Return all nodes of all modules of these packages."""
    files = [file for package in packages for file in sorted((ROOT / package).rglob("*.py"))]
    return tuple(node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8"))))


def log_events() -> Iterator[str]:
    """Yield the names of all log events; what is put in at run time is a `*`."""
    for node in nodes("gateway", "cli"):
        if isinstance(node, ast.Call) and node.args and _LOGGING.fullmatch(_called(node)):
            for argument in node.args[:2]:  # `log.log` has the level first
                text = _text(argument)
                if text is not None and _EVENT.fullmatch(text):
                    yield text
        elif isinstance(node, ast.Dict):
            said = _entries(node)
            if "event" in said and "level" in said and (text := _text(said["event"])) is not None:
                yield text
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and _holds_events(node.targets[0]):
            yield from (text for value in node.value.values if (text := _text(value)) is not None)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bytes):
            yield from (found.decode() for found in _BY_HAND.findall(node.value))


def _holds_events(target: ast.expr) -> bool:
    return _name(target).endswith("_EVENTS")


def strings(pattern: str, *packages: str) -> Iterator[str]:
    """Yield what whole strings in the code of these packages fit a pattern."""
    for node in nodes(*packages):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(pattern, node.value):
            yield node.value


def keywords_with_member(enum: str) -> Iterator[tuple[str, str]]:
    """Yield what calls say by keyword beside a member of an enum, with that member's name."""
    for node in nodes("gateway"):
        if isinstance(node, ast.Call):
            members = [one.attr for one in node.args if isinstance(one, ast.Attribute) and _name(one.value) == enum]
            yield from ((one, word.arg) for one in members for word in node.keywords if word.arg)


def keys_of_dictionary(known: Collection[str]) -> Iterator[str]:
    """Yield the keys of the dictionary in the supervisor's code that has all of the known ones."""
    for node in nodes("gateway/supervisor"):
        if isinstance(node, ast.Dict) and set(known) <= set(_entries(node)):
            yield from _entries(node)


def metrics() -> Iterator[tuple[str, list[str]]]:
    """Yield the names of all metrics with those of their labels."""
    kinds = ("Gauge", "Counter", "Histogram", "HistogramMetricFamily")
    for node in nodes("gateway/api"):
        if isinstance(node, ast.Call) and _called(node) in kinds and node.args:
            name = _text(node.args[0])
            labels = node.args[2].elts if len(node.args) > 2 and isinstance(node.args[2], ast.List) else []
            if name is not None:
                yield name, [text for label in labels if (text := _text(label)) is not None]


def _called(call: ast.Call) -> str:
    return _name(call.func)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _entries(node: ast.Dict) -> dict[str, ast.expr]:
    return {
        key.value: value
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
