"""How what is installed as a service differs from what it should be now: version, program, port, other units.

`examine` looks, and `mend` writes the unit anew.
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

#: what mends most of it
ANEW = "gateway install"


def examine(instance: Place, found: Look) -> list[Finding]:
    """Return what is found about the service; nothing if none is installed. Changes nothing."""
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
    """Tell when it runs, where that is not always."""
    if hints := manager.hints():
        yield Finding("login", Level.OK, " ".join(" ".join(hints).split()))


def _state(manager: Manager, found: Look) -> Iterator[Finding]:
    try:
        manager.require()
        status = manager.status()
    except GatewayError as error:
        yield Finding("service", Level.WARNING, f"{manager.name} cannot be asked", error.message, error.remedy)
        return
    if not status.enabled:
        yield Finding("service", Level.WARNING, "it does not start by itself", "it was disabled", ANEW)
    yield from _running(manager, status, found)


def _running(manager: Manager, status: Status, found: Look) -> Iterator[Finding]:
    if not status.running:
        remedy = "gateway service-start" if found.record is None else "gateway stop, then gateway service-start"
        if status.state.startswith("failed"):
            remedy = f"see why: gateway config check, or {manager.journal}; then gateway service-start"
        yield Finding("service", Level.WARNING, f"it is installed, and not running: {status.state}", remedy=remedy)
    elif found.record is not None and status.pid not in (None, found.record.pid):
        said = f"the gateway that runs (pid {found.record.pid}) is not the service's (pid {status.pid})"
        yield Finding("service", Level.ERROR, said, None, f"kill {found.record.pid}")


def _unit(instance: Place, manager: Manager, spec: ServiceSpec) -> Iterator[Finding]:
    if not Path(spec.program).exists():
        said = f"its program {spec.program} is gone"
        yield Finding("service", Level.ERROR, said, "Python or Moongate was moved or upgraded", ANEW)
    if spec.version != gateway.__version__:
        said = f"the unit was written by Moongate {spec.version}; this is {gateway.__version__}"
        yield Finding("service", Level.WARNING, said, "it was upgraded since", ANEW)
        return
    try:
        wanted = manager.render(unit.wanted(instance, spec))
    except GatewayError as error:
        yield Finding("service", Level.WARNING, "it could not be installed from here", error.message, error.remedy)
        return
    if wanted != manager.file.read_bytes():
        cause = "settings, or what runs this command, have changed since, or it was edited"
        yield Finding("service", Level.WARNING, "the unit is not as it would be written now", cause, ANEW)


def _port(instance: Place, spec: ServiceSpec) -> Iterator[Finding]:
    """Look whether the unit says another port than the config file: the unit wins."""
    said = dict(zip(spec.arguments, spec.arguments[1:], strict=False)).get("--port")
    written = inner(instance.written, "gateway.port")
    if said is not None and isinstance(written, int) and str(written) != said:
        cause = f"the config file says {written}, and what the unit says wins"
        yield Finding("service", Level.WARNING, f"the unit says port {said}", cause, f"{ANEW} (without --port)")


def _rivals(manager: Manager, spec: ServiceSpec) -> Iterator[Finding]:
    for file in manager.rivals(spec):
        said = f"{file} runs a gateway with this config, too"
        yield Finding("service", Level.ERROR, said, "only one of them can", "remove one of the two")


def mend(instance: Place) -> str | None:
    """Write the unit as it is to be now, without a restart; returns what was done, None if nothing had to be.

    Raises:
        GatewayError: it cannot be; everything is as it was before.
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
    return f"service: {manager.file} is written anew; it counts from the next start"
