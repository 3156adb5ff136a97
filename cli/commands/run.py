"""`gateway run`: the gateway in the foreground."""

from __future__ import annotations

import click

from cli import output
from cli.command import Wordless, current, need_config
from cli.instance import Place
from cli.service import lookup


@click.command(cls=Wordless)
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.  [default: 18790]")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--force", is_flag=True, help="End another gateway of this user that has the port, or this config.")
@click.option("--kill-foreign", is_flag=True, help="Take the port from any program.")
@click.option("--token", help="Store this as the gateway's token, then start without it on the command line.")
@click.option("--environment", multiple=True, hidden=True)  # both for service managers that can do neither
@click.option("--output", "printed", hidden=True)
def COMMAND(  # noqa: N802 the seam's name
    port: int | None,
    host: str | None,
    force: bool,
    kill_foreign: bool,
    token: str | None,
    environment: tuple[str, ...],
    printed: str | None,
) -> int:
    """Run the gateway in the foreground until Ctrl-C.

    It prints its address, its token's file and the agent it found. A second Ctrl-C stops it without grace.

    \b
    Examples:
      gateway                              the same as gateway run
      gateway run --port 8080
      gateway run --config ./work.json     beside another one, with other agents
    """
    from gateway import __main__ as foreground  # late: this is all of the gateway

    need_config()
    if force or kill_foreign:
        _stop_service()
    given = {"port": port, "host": host, "token": token, "force": force, "kill_foreign": kill_foreign}
    told = {"environment": environment, "output": printed}
    return foreground.run({**given, **told, "config": current().config})


def _stop_service() -> None:
    """Have a service of this config stopped by its manager, which would start it again otherwise."""
    manager = lookup.owner(Place.of(current().environment))
    if manager is not None:
        manager.stop()
        output.talk(f"{manager.service} is stopped until the next login, or: gateway service-start")
