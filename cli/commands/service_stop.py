"""`gateway service-stop`: stops the installed service."""

from __future__ import annotations

import time

import click

from cli import output
from cli.command import Command, current_invocation
from cli.instance import Instance
from cli.service import lookup
from gateway.supervisor.own_agent import refuse_own_agent


@click.command(cls=Command)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Stop the installed service. It starts again at the next login.

    Exit code 3 if no service is installed.

    \b
    Example:
      gateway service-stop

    \b
    --json prints
      {"stopped": true, "service", "seconds": how long it took}
    """
    instance = Instance.from_environment(current_invocation().merged_environment)
    manager = lookup.require_installed(instance)
    refuse_own_agent(instance.lock_record, "gateway service-stop")
    manager.require_available()
    began = time.monotonic()
    with output.show_waiting("stopping the service"):
        manager.stop_service()
    seconds = round(time.monotonic() - began, 2)
    output.print_result(
        {"stopped": True, "service": manager.service_name, "seconds": seconds},
        f"{output.add_mark('✅', 'Service stopped')} ({manager.service_name}, {output.format_duration(seconds)})",
    )
