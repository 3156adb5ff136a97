"""`gateway doctor`: what is wrong, why, and what mends it."""

from __future__ import annotations

import click

from cli import output
from cli.command import Command, current, need_config
from cli.doctor import finding
from cli.doctor.finding import Level


@click.command(cls=Command)
@click.option(
    "--fix", is_flag=True, help="Close to others what is to be private, write an old unit anew; the rest is yours."
)
@click.pass_context
def COMMAND(context: click.Context, fix: bool) -> None:  # noqa: N802 the seam's name
    """Look the gateway over: config, files, database, agents, port, disk, service.

    Changes nothing without --fix. Exit code 1 if something is broken, or could not be mended; a warning is not.

    \b
    Examples:
      gateway doctor
      gateway doctor --fix
      gateway doctor --json | jq '.findings[] | select(.level != "ok")'

    \b
    --json prints
      {"ok": bool, "findings": [{"check": str, "level": "ok" | "warning" | "error",
        "finding": str, "cause": str or null, "remedy": str or null}],
       "fixed": [what was mended], "failed": [what could not be mended, and why]}
    """
    from cli.doctor import checks, repair  # late: they bring all of the gateway

    need_config()
    environ = current().environment
    with output.waiting("looking it over"):
        repairs = repair.repair_all(environ) if fix else repair.Repairs([], [])
        found = checks.examine(environ)
    broken = any(one.level is Level.ERROR for one in found)
    if current().json:
        findings = [one._asdict() for one in found]
        output.emit({"ok": not broken, "findings": findings, "fixed": repairs.done, "failed": repairs.failed})
    else:
        for said in repairs.done:
            output.show(output.marked("🔧", f"fixed: {said}"))
        for said in repairs.failed:
            output.show(output.marked("❌", f"not fixed: {said}"))
        for one in found:
            finding.show(one)
    context.exit(1 if broken or repairs.failed else 0)
