"""`gateway uninstall`: removes the service."""

from __future__ import annotations

import click

from cli import output
from cli.command import Command, current_invocation
from cli.instance import Instance
from cli.service import lookup
from cli.service.steps import carry_out
from gateway.supervisor.own_agent import refuse_own_agent


@click.command(cls=Command)
@click.option("--system", is_flag=True, help="Remove the service of the whole system. Needs root.")
@click.option("--dry-run", is_flag=True, help="Print the commands; change nothing.")
def COMMAND(system: bool, dry_run: bool) -> None:  # noqa: N802 the seam's name
    """Stop and remove the service. Interrupted tasks are queued again. Data and settings are kept.

    \b
    Examples:
      gateway uninstall
      sudo gateway uninstall --system

    \b
    --json prints
      {"uninstalled": whether a service was installed, "service", "file"}
    with --dry-run {"uninstalled": false, "service", "file", "steps": [commands]}
    """
    environ = current_invocation().merged_environment
    instance = Instance.from_environment(lookup.system_environment(environ) if system else environ)
    if not dry_run:
        refuse_own_agent(instance.lock_record, "gateway uninstall")
    manager = lookup.find_manager(instance, system=system)
    packaged = manager.packaged_unit  # it stays, and is disabled
    file = packaged or manager.unit_path
    about = {"service": manager.service_name, "file": str(file)}
    if not manager.is_present:
        output.print_result({"uninstalled": False, **about}, f"Nothing is installed: there is no {manager.unit_path}")
        return
    manager.require_available()
    if system and not dry_run:
        lookup.require_root("uninstall")
    steps = manager.plan_removal()
    if dry_run:
        shown = [step.shown for step in steps]
        output.print_result({"uninstalled": False, **about, "steps": shown}, "\n".join(f"$ {step}" for step in shown))
        return
    with output.show_waiting("removing the service") as waiting:
        carry_out(steps, waiting.set_text)
    done = "Service removed" if packaged is None else "Service stopped and disabled; its package has the unit"
    output.print_result({"uninstalled": True, **about}, f"{output.add_mark('✅', done)} ({output.shorten_home(file)})")
