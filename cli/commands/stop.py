"""`gateway stop`: end the gateway, and know that it is gone."""

from __future__ import annotations

import signal
import time

import click

from cli import output
from cli.command import Command, current
from cli.place import Place
from gateway import paths
from gateway.errors import NotRunning
from gateway.supervisor import ending, intent

#: seconds from the end of the grace to the kill
LAST_MOMENTS = 1.0


@click.command(cls=Command)
@click.option("--force", is_flag=True, help="Kill it at once.")
@click.option(
    "--timeout", type=click.IntRange(0, 3_600_000), default=5000, metavar="MS", help="Its grace.  [default: 5000]"
)
def COMMAND(force: bool, timeout: int) -> None:  # noqa: N802 the seam's name
    """Stop the gateway: it finishes what it can within the grace, the rest is queued again.

    Returns when its process is gone and its port is free. Exit code 3 if it does not run.

    \b
    Examples:
      gateway stop
      gateway stop --timeout 10000
      gateway stop --force

    \b
    --json prints
      {"stopped": true, "pid", "seconds": how long it took}
    """
    place = Place.of(current().environment)
    found = place.record
    if found is None or not found.alive:
        raise NotRunning("the gateway is not running.", remedy="Start it: gateway start")
    began = time.monotonic()
    if not force:
        intent.say_grace(paths.lock(place.home, place.config), found.pid, timeout / 1000)
    ending.end(found, timeout / 1000 + LAST_MOMENTS, signal.SIGKILL if force else signal.SIGTERM)
    seconds = round(time.monotonic() - began, 2)
    text = f"{output.marked('✅', 'Gateway stopped')} (pid {found.pid}, {output.duration(seconds)})"
    output.result({"stopped": True, "pid": found.pid, "seconds": seconds}, text)
