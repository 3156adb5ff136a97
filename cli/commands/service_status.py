"""`gateway service-status`: shows the installed service and its state."""

from __future__ import annotations

from typing import Any

import click

from cli import output
from cli.command import Command, complete_commands, current_invocation
from cli.doctor import finding, service_drift
from cli.doctor.finding import Level
from cli.instance import Instance
from cli.remote import probe
from cli.remote.probe import ProbeResult
from cli.service import lookup
from cli.service.manager import ServiceManager, ServiceStatus
from gateway.errors import GatewayError
from gateway.security.secret_file import mask_secret


@click.command(cls=Command)
@click.pass_context
def COMMAND(context: click.Context) -> None:  # noqa: N802 the seam's name
    """Show the installed service, and whether it runs.

    Exit code 3 if no service is installed, or if it does not run.

    \b
    Examples:
      gateway service-status
      gateway service-status --json | jq .running

    \b
    --json prints
      {"installed": bool, "running": bool, "manager", "service", "file", "state": the manager's word,
       "pid", "enabled": whether it starts automatically, "program", "arguments": [str], "directory",
       "version": of Moongate that wrote the unit, "url", "token": masked, "findings": as in gateway doctor}
    Unknown values are null.
    """
    instance = Instance.from_environment(current_invocation().merged_environment)
    manager = lookup.find_installed(instance)
    if manager is None:
        shown = {"installed": False, "running": False}
        output.print_result(shown, "\n".join([*_head_rows("No"), complete_commands("   Install it: gateway install")]))
        context.exit(3)
    found, status = probe.probe_gateway(instance), _ask_status(manager)
    shape = _build_json(instance, manager, status, found)
    if current_invocation().json:
        output.print_json(shape)
    else:
        output.print_text(complete_commands("\n".join(_status_rows(shape))))
        for one in service_drift.examine_service(instance, found):
            if one.level is not Level.OK:
                finding.print_finding(one.complete())
    context.exit(0 if status.running else 3)


def _ask_status(manager: ServiceManager) -> ServiceStatus:
    try:
        manager.require_available()
        return manager.ask_status()
    except GatewayError as error:
        output.print_note(complete_commands(str(error)))
        return ServiceStatus("not known", running=False, pid=None, enabled=False)


def _build_json(
    instance: Instance, manager: ServiceManager, status: ServiceStatus, found: ProbeResult
) -> dict[str, Any]:
    try:
        spec = manager.read_installed_spec()
    except GatewayError:
        spec = None  # the findings say what is wrong with it
    token = instance.access_token
    return {
        "installed": True,
        "running": status.running,
        "manager": manager.name,
        "service": manager.service_name,
        "file": str(manager.packaged_unit or manager.unit_path),
        "state": status.state,
        "pid": status.pid,
        "enabled": status.enabled,
        "program": spec and spec.program,
        "arguments": spec and list(spec.arguments),
        "directory": spec and spec.directory,
        "version": spec and spec.version,
        "url": found.record and probe.local_url(instance, found.record),
        "token": token and mask_secret(token.value),
        "findings": [one.complete()._asdict() for one in service_drift.examine_service(instance, found)],
    }


def _head_rows(installed: str) -> list[str]:
    return [output.add_mark("📋", "Service Status"), "────────────────", f"Installed: {installed}"]


def _status_rows(shape: dict[str, Any]) -> list[str]:
    """Return the lines to print: those of xopc's service-status, and some of our own."""
    return [
        *_head_rows("Yes"),
        f"Status: {'running' if shape['pid'] else shape['state']}",
        f"PID: {shape['pid'] or '-'}",
        f"Starts by itself: {'yes' if shape['enabled'] else 'no'}",
        "",
        output.add_mark("📝", "Configuration"),
        "────────────────",
        f"Unit: {shape['file']}",
        f"Program: {shape['program'] or '-'}",
        f"Args: {' '.join(shape['arguments'] or []) or '-'}",
        f"Working Dir: {shape['directory'] or '-'}",
        "",
        output.add_mark("🌐", "Access"),
        "─────────",
        f"URL: {shape['url'] or '-'}",
        f"Token: {shape['token'] or '-'}",
        "",
        output.add_mark("📝", "Commands"),
        "───────────",
        "  gateway service-start   # start the service",
        "  gateway service-stop    # stop the service",
        "  gateway restart         # restart, no request is lost",
        "  gateway uninstall       # remove the service",
        "",
    ]
