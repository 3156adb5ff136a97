"""A finding of a check, and how `gateway doctor` and `gateway status --deep` print it."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import NamedTuple

from cli import output
from cli.command import complete_commands

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

    def complete(self) -> Finding:
        """Return the finding as it is shown: its commands reach the gateway that this command line names.

        Each part is a phrase without a final stop, although it may come from an error, whose parts are sentences.
        """
        return self._replace(
            finding=complete_commands(_make_phrase(self.finding)),
            cause=self.cause and _make_phrase(self.cause),
            remedy=self.remedy and complete_commands(_make_phrase(self.remedy)),
        )


def _make_phrase(text: str) -> str:
    """Return a sentence as a phrase on one line: without its capital and its final stop; several sentences stay."""
    joined = output.join_sentences([line.strip() for line in text.splitlines() if line.strip()])
    if ". " in joined:
        return joined
    lowered = joined[:1].lower() + joined[1:] if joined[1:2].islower() else joined
    return lowered.removesuffix(".") if not lowered.endswith("..") else lowered


def print_finding(found: Finding) -> None:
    """Print a finding for people, as it is."""
    mark = _LEVEL_MARKS[found.level] if output.wants_decoration(sys.stdout) else f"{found.level:<7}"
    output.print_text(f"{mark} {found.check}: {found.finding}")
    if found.cause:
        output.print_text(f"     why: {found.cause}")
    if found.remedy:
        output.print_text(f"     fix: {found.remedy}")
