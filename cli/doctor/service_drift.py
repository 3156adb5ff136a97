"""Checks how the installed service differs from what it should be: version, program, port, other units.

`examine_service` reports the differences, and `rewrite_unit` rewrites the unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gateway
from cli import output
from cli.doctor.finding import Finding, Level
from cli.instance import Instance
from cli.remote.probe import ProbeResult
from cli.service import lookup, unit
from cli.service.manager import ServiceManager, ServiceStatus
from cli.service.steps import carry_out
from cli.service.unit_file import read_content
from gateway.errors import ConfigError, GatewayError
from service_templates import ServiceSpec

#: the command that fixes most differences
REINSTALL_COMMAND = "gateway install"
#: the commands that rewrite an outdated unit; the first does not restart the gateway
REWRITE_COMMANDS = f"gateway doctor --fix, or {REINSTALL_COMMAND}"


def examine_service(instance: Instance, found: ProbeResult) -> list[Finding]:
    """Return the findings about the service; none if no service is installed. Changes nothing."""
    manager = lookup.find_installed(instance)
    if manager is None:
        return []
    try:
        spec = manager.read_installed_spec()
    except ConfigError as error:
        return [Finding("service", Level.ERROR, error.message, remedy=error.remedy)]
    if spec is None:
        said = f"its unit {output.shorten_home(manager.unit_path)} is gone"
        return [
            Finding(
                "service", Level.ERROR, said, "it was deleted by hand", f"{REINSTALL_COMMAND}, or gateway uninstall"
            )
        ]
    wrong = [
        *_examine_status(manager, found),
        *(_examine_unit(instance, manager, spec) if manager.packaged_unit is None else ()),
        *_examine_rivals(manager, spec),
    ]
    _, options = unit.read_options(spec)
    said = f"{output.shorten_home(manager.packaged_unit or manager.unit_path)}, {manager.name}"
    said += f"; it sets {' '.join(options)}" if options else ""
    return wrong or [Finding("service", Level.OK, said), *_describe_login(manager)]


def _describe_login(manager: ServiceManager) -> Iterator[Finding]:
    """Report when the service runs, if it does not run always."""
    if hints := manager.list_hints():
        yield Finding("login", Level.OK, " ".join(" ".join(hints).split()))


def _examine_status(manager: ServiceManager, found: ProbeResult) -> Iterator[Finding]:
    try:
        manager.require_available()
        status = manager.ask_status()
    except GatewayError as error:
        yield Finding("service", Level.WARNING, f"{manager.name} does not answer", error.message, error.remedy)
        return
    if not status.enabled and manager.packaged_unit is None:  # who uses a package's unit chooses that with systemctl
        yield Finding("service", Level.WARNING, "it does not start automatically", "it was disabled", REINSTALL_COMMAND)
    yield from _examine_running(manager, status, found)


def _examine_running(manager: ServiceManager, status: ServiceStatus, found: ProbeResult) -> Iterator[Finding]:
    if not status.running:
        remedy = "gateway service-start" if found.record is None else "gateway stop, then gateway service-start"
        if status.state.startswith("failed"):
            remedy = f"see why: gateway config check, or {manager.journal_command}; then gateway service-start"
        yield Finding("service", Level.WARNING, f"it is installed, but not running: {status.state}", remedy=remedy)
    elif found.record is not None and status.pid not in (None, found.record.pid):
        said = f"the running gateway (pid {found.record.pid}) is not the one of the service (pid {status.pid})"
        yield Finding("service", Level.ERROR, said, None, f"kill {found.record.pid}")


def _examine_unit(instance: Instance, manager: ServiceManager, spec: ServiceSpec) -> Iterator[Finding]:
    if not Path(spec.program).exists():
        said = f"its program {spec.program} is gone"
        yield Finding("service", Level.ERROR, said, "Python or Moongate was moved or upgraded", REINSTALL_COMMAND)
    if spec.version != gateway.__version__:
        said = f"the unit was written by Moongate {spec.version}; this is {gateway.__version__}"
        yield Finding("service", Level.WARNING, said, "Moongate was upgraded since then", REWRITE_COMMANDS)
        return
    try:
        wanted = manager.render_unit(unit.build_current_spec(instance, spec))
    except GatewayError as error:
        yield Finding("service", Level.WARNING, "it could not be installed from here", error.message, error.remedy)
        return
    if wanted != manager.unit_path.read_bytes():
        cause = "the settings or the installation of Moongate have changed, or the unit was edited"
        yield Finding(
            "service", Level.WARNING, "the unit differs from what would be written now", cause, REWRITE_COMMANDS
        )


def _examine_rivals(manager: ServiceManager, spec: ServiceSpec) -> Iterator[Finding]:
    for file in manager.find_rivals(spec):
        said = f"{file} also runs a gateway with this config"
        yield Finding("service", Level.ERROR, said, "only one of them can run", "remove one of the two")


def rewrite_unit(instance: Instance) -> str | None:
    """Rewrite an outdated unit, without a restart. Returns what was done; None if the unit was up to date.

    Raises:
        GatewayError: it cannot be rewritten; all steps were undone.
    """
    manager = lookup.find_installed(instance)
    if manager is None:
        return None
    present = manager.read_installed_spec()
    if present is None or manager.packaged_unit is not None:
        return None
    manager.require_available()
    wanted = unit.build_current_spec(instance, present)
    content, is_enabled = read_content(manager.unit_path), manager.ask_status().enabled
    if manager.render_unit(wanted) == content and is_enabled:
        return None
    only_version = manager.render_unit(replace(wanted, version=present.version)) == content
    carry_out(manager.plan_installation(wanted, start=False))
    if only_version and not is_enabled:
        return f"service: {manager.unit_path} is enabled again: it starts automatically"
    if only_version:
        return f"service: {manager.unit_path} names version {wanted.version} now; nothing else has changed in it"
    return f"service: {manager.unit_path} is rewritten; it takes effect at the next start"
