"""`gateway worker`: runs a worker of a fleet in the foreground."""

from __future__ import annotations

import os

import click

from cli.command import CommandWithoutJson, current_invocation, require_config


@click.command(cls=CommandWithoutJson)
@click.option("--agents", metavar="IDS", help="Ids of the agents whose runs it works on, with commas.  [default: all]")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 4096),
    help="Runs that it works on at the same time.  [default: fleet.slots, else limits.runs]",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on.  [default: any free one]")
def COMMAND(agents: str | None, concurrency: int | None, port: int) -> int:  # noqa: N802 the seam's name
    """Run a worker in the foreground until Ctrl-C: it works on the runs that gateways accept.

    It shares a PostgreSQL database with them, which store.url names, and runs the agents that its own
    config lists. A worker never leads: it fires no schedule and reads no chat. In the background:
    gateway start --role worker. At login: gateway install --role worker.

    \b
    Examples:
      gateway worker
      gateway worker --agents reviewer,coder --concurrency 4
    """
    if agents is not None and not agents.strip(", "):
        raise click.UsageError("--agents names no agent. Leave it out to work for all.")
    require_config()
    for name, value in (("MOONGATE_FLEET_AGENTS", agents), ("MOONGATE_FLEET_SLOTS", concurrency)):
        if value is not None:
            os.environ[name] = str(value)
    from gateway import __main__ as foreground  # late: imports all of the gateway

    with foreground.start_early([]) as early:
        return foreground.run({"role": "worker", "port": port, "config": current_invocation().config}, early)
