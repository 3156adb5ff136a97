"""`gateway service-stop`: stops the installed service."""

from __future__ import annotations

import time

import click

from cli import output
from cli.command import Command, current
from cli.instance import Place
from cli.service import lookup


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
    manager = lookup.need(Place.of(current().environment))
    manager.require()
    began = time.monotonic()
    with output.waiting("stopping the service"):
        manager.stop()
    seconds = round(time.monotonic() - began, 2)
    output.result(
        {"stopped": True, "service": manager.service, "seconds": seconds},
        f"{output.marked('✅', 'Service stopped')} ({manager.service}, {output.duration(seconds)})",
    )
