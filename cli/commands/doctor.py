"""`gateway doctor`: finds what is wrong, why, and how to fix it."""

from __future__ import annotations

import click

from cli import output
from cli.command import Command, current_invocation, require_config
from cli.doctor import finding
from cli.doctor.finding import Finding, Level
from cli.remote.client import connect_to_gateway
from cli.remote.link import find_elsewhere


def ask_findings() -> list[Finding]:
    """Return what the doctor of a gateway elsewhere finds there.

    Raises:
        GatewayError: it cannot be reached, or refuses.
    """
    told = connect_to_gateway().get("/api/doctor")["findings"]
    return [
        Finding(one["check"], Level(one["level"]), one["finding"], one.get("cause"), one.get("remedy")) for one in told
    ]


@click.command(cls=Command)
@click.option("--fix", is_flag=True, help="Make private files private, and rewrite an outdated service unit.")
@click.pass_context
def COMMAND(context: click.Context, fix: bool) -> None:  # noqa: N802 the seam's name
    """Check the gateway: config, files, database, agents, port, disk, service.

    Nothing is changed without --fix. Exit code 1 if there is an error, or if a fix failed. A warning
    is not an error.

    \b
    Examples:
      gateway doctor
      gateway doctor --fix
      gateway doctor --json | jq '.findings[] | select(.level != "ok")'

    \b
    --json prints
      {"ok": bool, "findings": [{"check": str, "level": "ok" | "warning" | "error",
        "finding": str, "cause": str or null, "remedy": str or null}],
       "fixed": [what was fixed], "failed": [what could not be fixed, and why]}
    """
    from cli.doctor import checks, repair  # late: they import all of the gateway

    is_elsewhere = find_elsewhere() is not None
    if is_elsewhere:
        if fix:
            raise click.UsageError("--fix changes files of this machine; for another one, run it there.", context)
        with output.show_waiting("checking the gateway"):
            found, repairs = ask_findings(), repair.Repairs([], [])
    else:
        require_config()
        environ = current_invocation().merged_environment
        with output.show_waiting("checking the gateway"):
            repairs = repair.repair_all(environ) if fix else repair.Repairs([], [])
            found = [one.complete() for one in checks.examine_gateway(environ)]
    broken = any(one.level is Level.ERROR for one in found)
    if current_invocation().json:
        findings = [one._asdict() for one in found]
        output.print_json({"ok": not broken, "findings": findings, "fixed": repairs.done, "failed": repairs.failed})
    else:
        for said in repairs.done:
            output.print_text(output.add_mark("🔧", f"fixed: {said}"))
        for said in repairs.failed:
            output.print_text(output.add_mark("❌", f"not fixed: {said}"))
        for one in found:
            finding.print_finding(one)
        if is_elsewhere and any(one.remedy for one in found):
            output.print_note("What fixes it is for the machine of that gateway.")
    context.exit(1 if broken or repairs.failed else 0)
