"""`gateway run`: runs the gateway in the foreground."""

from __future__ import annotations

import click

from cli import output
from cli.command import CommandWithoutJson, complete_commands, current_invocation, require_config
from cli.instance import Instance
from cli.service import lookup
from gateway.supervisor.own_agent import refuse_own_agent


@click.command(cls=CommandWithoutJson)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 chooses a free one.  [default: 18790]"
)
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--role",
    type=click.Choice(["gateway", "worker"]),
    help="What it does in a fleet; a worker needs store.url.  [default: gateway]",
)
@click.option("--force", is_flag=True, help="Stop another gateway of yours that uses the port or this config.")
@click.option("--kill-foreign", is_flag=True, help="Also kill any other program that uses the port.")
@click.option("--token", help="Store this as the gateway's token. It does not stay visible in the process list.")
@click.option("--environment", multiple=True, hidden=True)  # both are for service managers that have no such settings
@click.option("--output", "printed", hidden=True)
def COMMAND(  # noqa: N802 the seam's name
    port: int | None,
    host: str | None,
    role: str | None,
    force: bool,
    kill_foreign: bool,
    token: str | None,
    environment: tuple[str, ...],
    printed: str | None,
) -> int:
    """Run the gateway in the foreground until Ctrl-C.

    It prints its address, where its token is, and the agent that it found. Press Ctrl-C again
    to stop at once.

    \b
    Examples:
      gateway                              same as gateway run
      gateway run --port 8080
      gateway run --config ./work.json     a second gateway, with its own config
    """
    require_config()
    if force or kill_foreign:
        _stop_installed_service()
    given = {"port": port, "host": host, "role": role, "token": token, "force": force, "kill_foreign": kill_foreign}
    told = {"environment": environment, "output": printed}
    from gateway import __main__ as foreground  # late: imports all of the gateway

    options = {"--token": token, "--environment": environment}
    with foreground.start_early([name for name, value in options.items() if value]) as early:
        return foreground.run({**given, **told, "config": current_invocation().config}, early)


def _stop_installed_service() -> None:
    """Stop the service of this config through its manager, which would otherwise start it again."""
    instance = Instance.from_environment(current_invocation().merged_environment)
    refuse_own_agent(instance.lock_record, "gateway run --force")
    manager = lookup.find_owner(instance)
    if manager is not None:
        manager.stop_service()
        back = complete_commands("or with: gateway service-start")
        output.print_note(f"Stopped {manager.service_name}. It starts at the next login, {back}")
