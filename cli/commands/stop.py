"""`gateway stop`: end the gateway, and know that it is gone."""

from __future__ import annotations

import contextlib
import time

import click

from cli import output
from cli.command import Command, current
from cli.instance import Place
from cli.lifecycle import stop
from cli.service import lookup
from gateway import paths
from gateway.errors import NotRunning
from gateway.supervisor import intent, lock


@click.command(cls=Command)
@click.option("--force", is_flag=True, help="Kill it at once.")
@click.option(
    "--timeout", type=click.IntRange(0, 3_600_000), default=5000, metavar="MS", help="Its grace.  [default: 5000]"
)
def COMMAND(force: bool, timeout: int) -> None:  # noqa: N802 the seam's name
    """Stop the gateway: it finishes what it can within the grace, the rest is queued again.

    Returns when its process is gone and its port is free. Exit code 3 if it does not run. One that a
    service manager looks after is stopped by that, and comes back at the next login.

    \b
    Examples:
      gateway stop
      gateway stop --timeout 10000
      gateway stop --force

    \b
    --json prints
      {"stopped": true, "pid", "seconds": how long it took}
    """
    instance = Place.of(current().environment)
    found = lock.holder(paths.lock(instance.home, instance.config))
    manager = lookup.owner(instance)
    if manager is None and found is None:
        raise NotRunning("the gateway is not running.", remedy="Start it: gateway start")
    began = time.monotonic()
    if not force and found is not None:
        with contextlib.suppress(OSError):  # a full disk: then its grace is the one that its settings say
            intent.say_grace(paths.lock(instance.home, instance.config), found.pid, timeout / 1000)
    if manager is not None:  # so that it does not come back
        with output.waiting("stopping the service"):
            manager.stop(force=force)
    if found is not None and found.alive:
        stop.end(instance, found, timeout / 1000 + stop.KILL_DELAY_SECONDS, force=force)
    seconds = round(time.monotonic() - began, 2)
    pid = found.pid if found is not None else None
    by = f", {manager.service}" if manager is not None else ""
    text = f"{output.marked('✅', 'Gateway stopped')} (pid {pid}{by}, {output.duration(seconds)})"
    output.result({"stopped": True, "pid": pid, "seconds": seconds}, text)
