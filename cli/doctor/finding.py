"""A finding of a check, and how `gateway doctor` and `gateway status --deep` print it."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import NamedTuple

from cli import output

_MARKS = {"ok": "✅", "warning": "⚠️ ", "error": "❌"}


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """What a check found, the cause, and the command or step that fixes it."""

    check: str
    level: Level
    finding: str
    cause: str | None = None
    remedy: str | None = None


def show(found: Finding) -> None:
    """Print a finding for people."""
    mark = _MARKS[found.level] if output.fancy(sys.stdout) else f"{found.level:<7}"
    output.show(f"{mark} {found.check}: {found.finding}")
    if found.cause:
        output.show(f"     why: {found.cause}")
    if found.remedy:
        output.show(f"     fix: {found.remedy}")
