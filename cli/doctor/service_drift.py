"""Checks how the installed service differs from what it should be: version, program, port, other units.

`examine` reports the differences, and `mend` rewrites the unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gateway
from cli import output
from cli.doctor.finding import Finding, Level
from cli.instance import Place, inner
from cli.remote.probe import Look
from cli.service import lookup, unit
from cli.service.manager import Manager, Status
from cli.service.steps import carry_out
from cli.service.unit_file import read_content
from gateway.errors import ConfigError, GatewayError
from service_templates import ServiceSpec

#: the command that fixes most differences
ANEW = "gateway install"


def examine(instance: Place, found: Look) -> list[Finding]:
    """Return the findings about the service; none if no service is installed. Changes nothing."""
    manager = lookup.installed(instance)
    if manager is None:
        return []
    try:
        spec = manager.installed()
    except ConfigError as error:
        return [Finding("service", Level.ERROR, error.message, remedy=error.remedy)]
    if spec is None:
        said = f"its unit {output.home(manager.file)} is gone"
        return [Finding("service", Level.ERROR, said, "it was deleted by hand", f"{ANEW}, or gateway uninstall")]
    wrong = [*_state(manager, found), *_unit(instance, manager, spec), *_port(instance, spec), *_rivals(manager, spec)]
    said = f"{output.home(manager.file)}, {manager.name}"
    return wrong or [Finding("service", Level.OK, said), *_when(manager)]


def _when(manager: Manager) -> Iterator[Finding]:
    """Report when the service runs, if it does not run always."""
    if hints := manager.hints():
        yield Finding("login", Level.OK, " ".join(" ".join(hints).split()))


def _state(manager: Manager, found: Look) -> Iterator[Finding]:
    try:
        manager.require()
        status = manager.status()
    except GatewayError as error:
        yield Finding("service", Level.WARNING, f"{manager.name} does not answer", error.message, error.remedy)
        return
    if not status.enabled:
        yield Finding("service", Level.WARNING, "it does not start automatically", "it was disabled", ANEW)
    yield from _running(manager, status, found)


def _running(manager: Manager, status: Status, found: Look) -> Iterator[Finding]:
    if not status.running:
        remedy = "gateway service-start" if found.record is None else "gateway stop, then gateway service-start"
        if status.state.startswith("failed"):
            remedy = f"see why: gateway config check, or {manager.journal}; then gateway service-start"
        yield Finding("service", Level.WARNING, f"it is installed, but not running: {status.state}", remedy=remedy)
    elif found.record is not None and status.pid not in (None, found.record.pid):
        said = f"the running gateway (pid {found.record.pid}) is not the one of the service (pid {status.pid})"
        yield Finding("service", Level.ERROR, said, None, f"kill {found.record.pid}")


def _unit(instance: Place, manager: Manager, spec: ServiceSpec) -> Iterator[Finding]:
    if not Path(spec.program).exists():
        said = f"its program {spec.program} is gone"
        yield Finding("service", Level.ERROR, said, "Python or Moongate was moved or upgraded", ANEW)
    if spec.version != gateway.__version__:
        said = f"the unit was written by Moongate {spec.version}; this is {gateway.__version__}"
        yield Finding("service", Level.WARNING, said, "Moongate was upgraded since then", ANEW)
        return
    try:
        wanted = manager.render(unit.wanted(instance, spec))
    except GatewayError as error:
        yield Finding("service", Level.WARNING, "it could not be installed from here", error.message, error.remedy)
        return
    if wanted != manager.file.read_bytes():
        cause = "the settings or the installation of Moongate have changed, or the unit was edited"
        yield Finding("service", Level.WARNING, "the unit differs from what would be written now", cause, ANEW)


def _port(instance: Place, spec: ServiceSpec) -> Iterator[Finding]:
    """Check whether the unit sets another port than the config file. The unit takes precedence."""
    said = dict(zip(spec.arguments, spec.arguments[1:], strict=False)).get("--port")
    written = inner(instance.written, "gateway.port")
    if said is not None and isinstance(written, int) and str(written) != said:
        cause = f"the config file says {written}, but the unit takes precedence"
        yield Finding("service", Level.WARNING, f"the unit says port {said}", cause, f"{ANEW} (without --port)")


def _rivals(manager: Manager, spec: ServiceSpec) -> Iterator[Finding]:
    for file in manager.rivals(spec):
        said = f"{file} also runs a gateway with this config"
        yield Finding("service", Level.ERROR, said, "only one of them can run", "remove one of the two")


def mend(instance: Place) -> str | None:
    """Rewrite an outdated unit, without a restart. Returns what was done; None if the unit was up to date.

    Raises:
        GatewayError: it cannot be rewritten; all steps were undone.
    """
    manager = lookup.installed(instance)
    if manager is None:
        return None
    present = manager.installed()
    if present is None:
        return None
    manager.require()
    wanted = unit.wanted(instance, present)
    if manager.render(wanted) == read_content(manager.file) and manager.status().enabled:
        return None
    carry_out(manager.installation(wanted, start=False))
    return f"service: {manager.file} is rewritten; it takes effect at the next start"
