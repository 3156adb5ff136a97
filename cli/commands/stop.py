"""`gateway stop`: stops the gateway, and waits until it is gone."""

from __future__ import annotations

import contextlib
import time

import click

from cli import output
from cli.arguments import Duration
from cli.command import Command, current_invocation
from cli.instance import Instance
from cli.lifecycle import stop
from cli.service import lookup
from gateway.errors import NotRunning
from gateway.supervisor import intent, lock
from gateway.supervisor.own_agent import refuse_own_agent


@click.command(cls=Command)
@click.option("--force", is_flag=True, help="Kill it at once, without a grace period.")
@click.option(
    "--timeout",
    type=Duration("ms", most=3_600_000),
    default=5000.0,
    metavar="DURATION",
    help="Grace period for running tasks: 10s, 2m; a plain number is in milliseconds.  [default: 5s]",
)
def COMMAND(force: bool, timeout: float) -> None:  # noqa: N802 the seam's name
    """Stop the gateway. Tasks that do not finish within the grace period are queued again.

    The command returns when the process has ended and the port is free. Exit code 3 if the gateway
    does not run. If it runs as a service, the service manager stops it; it starts again at the next
    login. A task of the gateway itself may not stop it.

    \b
    Examples:
      gateway stop
      gateway stop --timeout 10s
      gateway stop --force

    \b
    --json prints
      {"stopped": true, "pid", "seconds": how long it took}
    """
    instance = Instance.from_environment(current_invocation().merged_environment)
    found = lock.lock_holder(instance.lock_file)
    manager = lookup.find_owner(instance)
    if manager is None and found is None:
        raise NotRunning("the gateway is not running.", remedy="Start it: gateway start")
    refuse_own_agent(found, "gateway stop")
    began = time.monotonic()
    if not force and found is not None:
        with contextlib.suppress(OSError):  # a full disk: then the grace period of the settings counts
            intent.leave_grace(instance.requests_base, found.pid, timeout / 1000)
    if manager is not None:  # otherwise the manager would start it again
        with output.show_waiting("stopping the service"):
            manager.stop_service(force=force)
    if found is not None and found.is_alive:
        stop.end_gateway(instance, found, timeout / 1000 + stop.KILL_DELAY_SECONDS, force=force)
    seconds = round(time.monotonic() - began, 2)
    pid = found.pid if found is not None else None
    named = [f"pid {pid}" if pid is not None else "", manager.service_name if manager is not None else ""]
    about = ", ".join(filter(None, [*named, output.format_duration(seconds)]))
    text = f"{output.add_mark('✅', 'Gateway stopped')} ({about})"
    output.print_result({"stopped": True, "pid": pid, "seconds": seconds}, text)
