"""`gateway service-status`: shows the installed service and its state."""

from __future__ import annotations

from typing import Any

import click

from cli import output
from cli.command import Command, current
from cli.doctor import finding, service_drift
from cli.doctor.finding import Level
from cli.instance import Place
from cli.remote import probe
from cli.remote.probe import Look
from cli.service import lookup
from cli.service.manager import Manager, Status
from gateway.errors import GatewayError
from gateway.security.secret_file import masked


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
    instance = Place.of(current().environment)
    manager = lookup.installed(instance)
    if manager is None:
        shown = {"installed": False, "running": False}
        output.result(shown, "\n".join([*_head("No"), "   Install it: gateway install"]))
        context.exit(3)
    found, status = probe.look(instance), _status(manager)
    shape = _shape(instance, manager, status, found)
    if current().json:
        output.emit(shape)
    else:
        output.show("\n".join(_rows(shape)))
        for one in service_drift.examine(instance, found):
            if one.level is not Level.OK:
                finding.show(one)
    context.exit(0 if status.running else 3)


def _status(manager: Manager) -> Status:
    try:
        manager.require()
        return manager.status()
    except GatewayError as error:
        output.talk(str(error))
        return Status("not known", running=False, pid=None, enabled=False)


def _shape(instance: Place, manager: Manager, status: Status, found: Look) -> dict[str, Any]:
    try:
        spec = manager.installed()
    except GatewayError:
        spec = None  # the findings say what is wrong with it
    token = instance.token
    return {
        "installed": True,
        "running": status.running,
        "manager": manager.name,
        "service": manager.service,
        "file": str(manager.file),
        "state": status.state,
        "pid": status.pid,
        "enabled": status.enabled,
        "program": spec and spec.program,
        "arguments": spec and list(spec.arguments),
        "directory": spec and spec.directory,
        "version": spec and spec.version,
        "url": found.record and probe.url(found.record),
        "token": token and masked(token.value),
        "findings": [one._asdict() for one in service_drift.examine(instance, found)],
    }


def _head(installed: str) -> list[str]:
    return [output.marked("📋", "Service Status"), "────────────────", f"Installed: {installed}"]


def _rows(shape: dict[str, Any]) -> list[str]:
    """Return the lines to print: those of xopc's service-status, and some of our own."""
    return [
        *_head("Yes"),
        f"Status: {'running' if shape['pid'] else shape['state']}",
        f"PID: {shape['pid'] or '-'}",
        f"Starts by itself: {'yes' if shape['enabled'] else 'no'}",
        "",
        output.marked("📝", "Configuration"),
        "────────────────",
        f"Unit: {shape['file']}",
        f"Program: {shape['program'] or '-'}",
        f"Args: {' '.join(shape['arguments'] or []) or '-'}",
        f"Working Dir: {shape['directory'] or '-'}",
        "",
        output.marked("🌐", "Access"),
        "─────────",
        f"URL: {shape['url'] or '-'}",
        f"Token: {shape['token'] or '-'}",
        "",
        output.marked("📝", "Commands"),
        "───────────",
        "  gateway service-start   # start the service",
        "  gateway service-stop    # stop the service",
        "  gateway restart         # restart, no request is lost",
        "  gateway uninstall       # remove the service",
        "",
    ]
