"""`gateway service-start`: starts the installed service."""

from __future__ import annotations

import click

from cli import output
from cli.arguments import Duration
from cli.command import Command, complete_commands, current_invocation
from cli.instance import Instance
from cli.lifecycle import start
from cli.remote import probe
from cli.service import lookup


@click.command(cls=Command)
@click.option(
    "--wait",
    type=Duration(most=3600),
    default=60.0,
    metavar="DURATION",
    help="How long to wait until the gateway answers.  [default: 60s]",
)
def COMMAND(wait: float) -> None:  # noqa: N802 the seam's name
    """Start the installed service, and wait until the gateway answers.

    Exit code 3 if no service is installed.

    \b
    Example:
      gateway service-start

    \b
    --json prints
      {"started": true, "service", "pid", "url", "agent": the default agent as in GET /health}
    """
    instance = Instance.from_environment(current_invocation().merged_environment)
    manager = lookup.require_installed(instance)
    record = start.start_by_service(manager, instance, wait)
    found, url = probe.probe_gateway(instance), probe.local_url(instance, record)
    rows = [
        f"{output.add_mark('✅', 'Service started')} (pid {record.pid})",
        f"   URL: {url}",
        *probe.describe_agent(found.agent),
    ]
    told = {"started": True, "service": manager.service_name, "pid": record.pid, "url": url}
    output.print_result(told | {"agent": found.agent}, complete_commands("\n".join(rows)))
