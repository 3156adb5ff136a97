"""`gateway run`: the gateway in the foreground."""

from __future__ import annotations

import click

from cli.command import Wordless, current, need_config


@click.command(cls=Wordless)
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.  [default: 18790]")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--token", help="Store this as the gateway's token, then start without it on the command line.")
def COMMAND(port: int | None, host: str | None, token: str | None) -> None:  # noqa: N802 the seam's name
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
    foreground.run({"port": port, "host": host, "token": token, "config": current().config})
