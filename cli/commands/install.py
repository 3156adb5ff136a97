"""`gateway install`: installs the gateway as a service that starts at login or at boot."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli import output
from cli.arguments import Duration
from cli.command import Command, complete_commands, current_invocation, require_config
from cli.remote import probe
from gateway.supervisor import restart_plan

if TYPE_CHECKING:
    from cli.service.install import InstallationPlan
    from cli.service.unit import Runtime

#: variable that hands the token to this command when it executes itself again without `--token`
TOKEN_VARIABLE = "MOONGATE_INSTALL_TOKEN"  # noqa: S105 a name

#: platforms by the name of their service manager
PLATFORMS = {"systemd": "linux", "launchd": "darwin", "task-scheduler": "win32"}


@click.command(cls=Command)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on.  [default: as installed, else from the settings]"
)
@click.option(
    "--host", metavar="ADDRESS", help="Address to listen on.  [default: as installed, else from the settings]"
)
@click.option(
    "--role",
    type=click.Choice(["gateway", "worker"]),
    help="What it does in a fleet; a worker needs store.url.  [default: as installed, else gateway]",
)
@click.option("--token", help="Store this as the gateway's token in its token file. The unit does not contain it.")
@click.option(
    "--runtime",
    type=click.Choice(["python", "binary", "node"]),
    default="python",
    help="What the service runs: this Python interpreter (also called node), or the gateway command on PATH."
    "  [default: as installed, else python]",
)
@click.option(
    "--system", is_flag=True, help="Install it for the whole system: it starts at boot and runs as you. Needs root."
)
@click.option(
    "--wait",
    type=Duration(most=3600),
    default=60.0,
    metavar="DURATION",
    help="How long to wait until the gateway answers.  [default: 60s]",
)
@click.option("--dry-run", is_flag=True, help="Print the unit and the commands; change nothing.")
@click.option(
    "--print",
    "platform",
    type=click.Choice([*PLATFORMS]),
    help="Print the unit for this service manager, on any platform; change nothing.",
)
@click.pass_context
def COMMAND(  # noqa: N802 the seam's name
    context: click.Context,
    port: int | None,
    host: str | None,
    role: str | None,
    token: str | None,
    runtime: str,
    system: bool,
    wait: float,
    dry_run: bool,
    platform: str | None,
) -> None:
    """Install the gateway as a service that starts at login, and start it.

    If a step fails, all steps are undone. If you install again, the new unit replaces the old one,
    with its options unless you give others; do so after you move Python or Moongate.

    \b
    Examples:
      gateway install
      gateway install --port 8080 --token my-secret-token
      gateway install --dry-run
      gateway install --print launchd
      sudo gateway install --system

    \b
    --json prints
      {"installed": true, "replaced": whether one was there, "manager", "service", "file", "pid", "url",
       "agent": the default agent as in GET /health, "hints": [what you should know]}
    with --dry-run {"installed": false, "manager", "service", "file", "unit": its text, "steps": [commands],
       "hints"}
    with --print {"installed": false, "manager", "unit": its text}
    """
    from cli.service import install  # late: imports all of the gateway

    if token is not None:
        _reexec_without_token(token)
    token = os.environ.pop(TOKEN_VARIABLE, None)  # before any child process can see it
    require_config()
    given = {"--port": port, "--host": host, "--role": role}
    arguments = tuple(word for name, value in given.items() if value is not None for word in (name, str(value)))
    wanted: Runtime | None = "binary" if runtime == "binary" else "python"
    if context.get_parameter_source("runtime") is ParameterSource.DEFAULT:
        wanted = None
    environ = current_invocation().merged_environment
    if platform is not None:
        text = install.render_unit(environ, PLATFORMS[platform], arguments=arguments, runtime=wanted, system=system)
        output.print_result({"installed": False, "manager": platform, "unit": text}, text.rstrip("\n"))
        return
    plan = install.plan_installation(
        environ, arguments=arguments, token=token, runtime=wanted, system=system, earnest=not dry_run
    )
    if dry_run:
        _print_plan(plan)
        return
    with output.show_waiting("installing the service") as waiting:
        done = plan.carry_out(waiting.set_text, wait)
    rows = [
        f"{output.add_mark('✅', 'Service ' + ('replaced' if done['replaced'] else 'installed'))} (pid {done['pid']})",
        f"   Unit: {output.shorten_home(plan.manager.unit_path)}",
        f"   URL: {done['url']}",
        *map(complete_commands, probe.describe_agent(done["agent"])),
    ]
    _print_rows(done, rows)


def _reexec_without_token(token: str) -> None:
    """Keep the token out of the process list: execute this program again with the token in the environment."""
    environment = {**os.environ, TOKEN_VARIABLE: token}
    if restart_plan.CURRENT_PLATFORM == "win32":  # there, the caller would see this process end
        os.environ.update(environment)
        return
    os.execve(sys.executable, restart_plan.command_without_option("--token"), environment)  # noqa: S606 ourselves again


def _print_plan(plan: InstallationPlan) -> None:
    shown = plan.describe_dry_run()
    words = [f"# {plan.manager.unit_path}", shown["unit"], *(f"$ {step}" for step in shown["steps"])]
    _print_rows(shown, words)


def _print_rows(told: dict[str, Any], words: list[str]) -> None:
    output.print_result(told, "\n".join(words))
    for hint in told["hints"]:
        output.print_note(complete_commands(hint))
