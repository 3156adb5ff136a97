"""A finding of a check, and how `gateway doctor` and `gateway status --deep` print it."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import NamedTuple

from cli import output

_LEVEL_MARKS = {"ok": "✅", "warning": "⚠️ ", "error": "❌"}


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


def print_finding(found: Finding) -> None:
    """Print a finding for people."""
    mark = _LEVEL_MARKS[found.level] if output.wants_decoration(sys.stdout) else f"{found.level:<7}"
    output.print_text(f"{mark} {found.check}: {found.finding}")
    if found.cause:
        output.print_text(f"     why: {found.cause}")
    if found.remedy:
        output.print_text(f"     fix: {found.remedy}")
