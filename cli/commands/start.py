"""`gateway start`: starts the gateway in the background."""

from __future__ import annotations

import click

from cli import output
from cli.arguments import Duration
from cli.command import Command, complete_commands, current_invocation, require_config
from cli.instance import Instance
from cli.lifecycle import start
from cli.lifecycle.start_options import StartOptions
from cli.remote import network_host, probe
from cli.remote.probe import ProbeResult, State
from cli.service import lookup
from cli.update import notes
from gateway.errors import Conflict, Unavailable


@click.command(cls=Command)
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.  [default: 18790]")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--role",
    type=click.Choice(["gateway", "worker"]),
    help="What it does in a fleet; a worker needs store.url.  [default: gateway]",
)
@click.option(
    "--wait",
    type=Duration(most=3600),
    default=30.0,
    metavar="DURATION",
    help="How long to wait until the gateway answers.  [default: 30s]",
)
@click.option("--force", is_flag=True, help="Stop another gateway of yours that uses the port.")
@click.option("--kill-foreign", is_flag=True, help="Also kill any other program that uses the port.")
def COMMAND(  # noqa: N802 the seam's name
    port: int | None, host: str | None, role: str | None, wait: float, force: bool, kill_foreign: bool
) -> None:
    """Start the gateway in the background, and wait until it answers.

    If it runs already, nothing is changed and the command succeeds. If it is installed as a service,
    the service manager starts it. See its log with `gateway logs`.

    \b
    Examples:
      gateway start
      gateway start --port 8080

    \b
    --json prints
      {"started": bool, "pid", "url", "external_url": address for other machines, or null,
       "agent": the default agent as in GET /health}
    """
    require_config()
    instance = Instance.from_environment(current_invocation().merged_environment)
    if (interrupted := notes.describe_interruption(instance.home)) is not None:
        output.print_note(complete_commands(interrupted))
    found = start.wait_until_settled(instance, wait)
    started = found.state is State.STOPPED
    if started:
        found = _start_gateway(instance, StartOptions(port, host, role), wait, force, kill_foreign)
    _print_started(instance, found, started)
    if started and not instance.config.exists() and not current_invocation().json:
        output.print_note(complete_commands("Set it up step by step: gateway setup"))


def _start_gateway(instance: Instance, options: StartOptions, wait: float, force: bool, kill: bool) -> ProbeResult:
    manager = lookup.find_installed(instance)
    if manager is None:
        return start.start_in_background(instance, options, wait, force=force, kill=kill)
    try:
        manager.require_available()
    except Unavailable as error:
        output.print_note(f"Starting it without the installed service: {error.message}")
        return start.start_in_background(instance, options, wait, force=force, kill=kill)
    if options != StartOptions():
        raise Conflict(
            "the gateway is installed as a service, and its unit sets where it listens and its role.",
            remedy="Change it: gateway install --port PORT --host ADDRESS --role ROLE",
        )
    start.start_by_service(manager, instance, wait, force=force, kill=kill)
    return probe.probe_gateway(instance)


def _print_started(instance: Instance, found: ProbeResult, started: bool) -> None:
    record = found.record
    assert record is not None
    what = "Gateway started" if started else "Gateway is already running"
    url, external = probe.local_url(instance, record), network_host.find_external_url(instance, record)
    is_open = network_host.is_exposed_without_tls(instance, record)
    rows = [
        f"{output.add_mark('✅', what)} (pid {record.pid})",
        f"   URL: {url}",
        *([f"   For others: {external}"] if external else []),
        *([f"   {output.add_mark('⚠️ ', network_host.PLAIN_HTTP_WARNING)}"] if is_open else []),
        *probe.describe_agent(found.agent),
        "   Dashboard: gateway dashboard",
    ]
    told = {"started": started, "pid": record.pid, "url": url, "external_url": external, "agent": found.agent}
    output.print_result(told, complete_commands("\n".join(rows)))
