"""`gateway doctor`: what is wrong, why, and what mends it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cli import output
from cli.command import Command, current, need_config

if TYPE_CHECKING:
    from cli.checkup import Finding

_MARKS = {"ok": "✅", "warning": "⚠️ ", "error": "❌"}


@click.command(cls=Command)
@click.pass_context
def COMMAND(context: click.Context) -> None:  # noqa: N802 the seam's name
    """Look the gateway over: config, files, database, agents, port, disk.

    Changes nothing. Exit code 1 if something is broken; a warning is not.

    \b
    Examples:
      gateway doctor
      gateway doctor --json | jq '.findings[] | select(.level != "ok")'

    \b
    --json prints
      {"ok": bool, "findings": [{"check": str, "level": "ok" | "warning" | "error",
        "finding": str, "cause": str or null, "remedy": str or null}]}
    """
    from cli.checkup import Level, examine  # late: brings all of the gateway

    need_config()
    with output.waiting("looking it over"):
        findings = examine(current().environment)
    broken = any(finding.level is Level.ERROR for finding in findings)
    if current().json:
        output.emit({"ok": not broken, "findings": [finding._asdict() for finding in findings]})
    else:
        for finding in findings:
            _print(finding)
    context.exit(1 if broken else 0)


def _print(finding: Finding) -> None:
    mark = _MARKS[finding.level] if output.fancy(sys.stdout) else f"{finding.level:<7}"
    output.show(f"{mark} {finding.check}: {finding.finding}")
    if finding.cause:
        output.show(f"     why: {finding.cause}")
    if finding.remedy:
        output.show(f"     mend: {finding.remedy}")
