"""All checks of `gateway doctor`. Each looks at one thing, changes nothing, and says how to fix it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import gateway
from cli import output
from cli.doctor import environment
from cli.doctor.agents import examine_agents
from cli.doctor.budgets import examine_budgets
from cli.doctor.database import examine_database
from cli.doctor.files import examine_files
from cli.doctor.finding import Finding, Level
from cli.doctor.private_files import examine_password_file, examine_private_paths
from cli.doctor.reach import examine_reach
from cli.doctor.updates import examine_updates
from cli.doctor.workspaces import examine_workspaces
from cli.instance import Instance
from cli.lifecycle.start_options import read_start_options
from cli.remote import config_drift, probe
from cli.remote.probe import ProbeResult, State, WorkReport
from cli.remote.token_drift import explain_token_drift
from gateway import backends, channels, config
from gateway.assembly import deliveries
from gateway.assembly.checks import check_settings
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.errors import ConfigError, PortTaken
from gateway.supervisor import port

#: remedy of a wrong setting whose error names none
_EDIT_CONFIG = "edit the file that is named, then: gateway config check"


def examine_gateway(environ: Mapping[str, str]) -> list[Finding]:
    """Return the findings of all checks. Without a usable config, the checks that need one are left out."""
    instance = Instance.from_environment(environ)
    found = probe.probe_gateway(instance)
    inside = _ask_work(instance, found)
    findings = [
        _examine_process(instance, found, inside),
        *_examine_token(instance, found, inside),
        *_examine_config_in_use(instance, found),
        *examine_private_paths(instance),
        *environment.examine_environment(instance, found),
        *_examine_plugins(),
        *examine_updates(instance),
    ]
    try:
        settings = config.load(environ)
        agents = check_settings(settings, environ)
    except ConfigError as error:
        return [Finding("config", Level.ERROR, error.message, remedy=error.remedy or _EDIT_CONFIG), *findings]
    return [
        Finding("config", Level.OK, _describe_config(settings, agents)),
        *findings,
        examine_database(settings, found),
        *examine_password_file(settings),
        examine_workspaces(settings),
        _examine_port(settings, found),
        *examine_reach(settings, instance, found),
        *_examine_webhooks(settings),
        *examine_agents(settings, agents, instance, found),
        *examine_budgets(agents, instance, found),
        *examine_files(instance, found),
    ]


def _describe_config(settings: Config, agents: Iterable[Agent]) -> str:
    file = output.shorten_home(settings.path) if settings.path.exists() else "no file, all defaults"
    return f"{file}; agents: {', '.join(agent.id for agent in agents)}"


def _ask_work(instance: Instance, found: ProbeResult) -> WorkReport:
    try:
        known = instance.access_token
    except ConfigError:
        return WorkReport()  # another check reports the token file
    return probe.ask_work(found, None if known is None else known.value)


def _examine_process(instance: Instance, found: ProbeResult, inside: WorkReport) -> Finding:
    record, health = found.record, found.health or {}
    if record is None:
        return Finding("gateway", Level.OK, "not running; start it: gateway start")
    if found.state is State.UNRESPONSIVE:
        said = f"pid {record.pid} is there, but does not answer on port {record.port}"
        return Finding(
            "gateway", Level.ERROR, said, "it is starting, stopping or hanging", f"gateway logs, then kill {record.pid}"
        )
    wrong = "; ".join(f"{name}: {said}" for name, said in (inside.checks or {}).items() if said != "ok")
    if wrong or health.get("status") == "degraded":
        return Finding(
            "gateway", Level.ERROR, "running, but not healthy", wrong or None, "gateway logs --level warning"
        )
    running = {record.version, health.get("version", record.version)} - {gateway.__version__}
    if running:
        said = f"running version {' and '.join(sorted(running))}; installed is {gateway.__version__}"
        remedy = config_drift.advise_restart(instance)
        return Finding("gateway", Level.WARNING, said, "it was upgraded after its start", remedy)
    return Finding("gateway", Level.OK, f"running, pid {record.pid}, {probe.local_url(instance, record)}")


def _examine_plugins() -> Iterator[Finding]:
    """Report the backends and channels of other packages, and those that cannot be used."""
    for kind, found in (
        ("backend", backends.find_registered_backends()),
        ("channel", channels.find_registered_channels()),
    ):
        for name, origin in found.origins.items():
            yield Finding(f"plugin {name}", Level.OK, f"a {kind}, from {origin}")
        for name, broken in found.broken.items():
            said = f"the {kind} from {broken.origin} cannot be used"
            yield Finding(
                f"plugin {name}", Level.ERROR, said, broken.why, "fix that package, or install another version of it"
            )


def _examine_token(instance: Instance, found: ProbeResult, inside: WorkReport) -> Iterator[Finding]:
    """Check whether the running gateway accepts the stored token."""
    if inside.token_drift and found.record is not None:
        drift = explain_token_drift(instance, found.record)
        yield Finding("token in use", Level.ERROR, drift.finding, remedy=drift.remedy)


def _examine_config_in_use(instance: Instance, found: ProbeResult) -> Iterator[Finding]:
    """Check whether the running gateway uses the settings that are on disk."""
    if found.health is None:
        return
    changed = config_drift.find_changed_file(instance, time.time() - found.health.get("uptime", 0) - 1)
    if changed is not None:
        said = f"{output.shorten_home(changed)} changed on disk since the start"
        cause, remedy = "the gateway uses what it read before", config_drift.advise_restart(instance)
        yield Finding("config in use", Level.WARNING, said, cause, remedy)


def _examine_webhooks(settings: Config) -> Iterator[Finding]:
    """Report webhooks of schedules and waiting deliveries that the settings refuse."""
    refused = deliveries.find_refused_webhooks(settings)
    if refused:
        yield Finding(
            "webhooks",
            Level.WARNING,
            "the settings refuse webhooks that are in use",
            "; ".join(map(str, refused)),
            "add their hosts or networks to webhooks.allow_private, then gateway restart",
        )


def _examine_port(settings: Config, found: ProbeResult) -> Finding:
    host, wanted = settings.gateway.host, settings.gateway.port
    if found.record is not None:
        held = found.record.port
        if read_start_options(found.record).port is not None:
            return Finding("port", Level.OK, f"{held}, held by the gateway, which was started with --port")
        if wanted not in (0, held):
            said = f"the gateway uses {held}; the settings say {wanted}"
            return Finding("port", Level.WARNING, said, "the settings changed after its start", "gateway restart")
        return Finding("port", Level.OK, f"{held}, held by the gateway")
    try:
        port.bind_port(host, wanted).close()
    except PortTaken:
        return Finding(
            "port",
            Level.ERROR,
            f"{wanted} is taken",
            port.describe_holder(wanted),
            "stop that program (a service: gateway stop), or use another port: gateway run --port OTHER",
        )
    except ConfigError as error:
        return Finding("port", Level.ERROR, error.message, remedy="set gateway.host or gateway.port")
    return Finding("port", Level.OK, f"{wanted or 'any'} on {host}, free")
