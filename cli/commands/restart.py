"""`gateway restart`: a new generation takes over without losing a request."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import click

import gateway
from cli import output
from cli.arguments import Duration
from cli.command import Command, complete_commands, current_invocation
from cli.instance import Instance
from cli.lifecycle import start, stop
from cli.lifecycle.restart import request_restart
from cli.lifecycle.start_options import StartOptions, read_start_options
from cli.remote import probe
from cli.remote.link import find_elsewhere
from cli.service import lookup
from gateway.errors import ConfigError, GatewayError, NotRunning
from gateway.supervisor import lock, restart_plan, state_owner, terminate
from gateway.supervisor.intent import Outcome
from gateway.supervisor.own_agent import refuse_own_agent
from gateway.supervisor.record import Record

#: seconds to wait for a restart: longer than a generation may take to start, to receive the reason of a failure
RESTART_TIMEOUT_SECONDS = 45.0


@click.command(cls=Command)
@click.option(
    "--force", is_flag=True, help="Kill the gateway (SIGTERM, after 700 ms SIGKILL) and start it, even if none runs."
)
@click.option("--kill-foreign", is_flag=True, help="With --force: also kill any other program that uses the port.")
@click.option("--hard", is_flag=True, help="Also replace the supervisor. Its PID stays the same.")
@click.option(
    "--wait",
    type=Duration(most=3600),
    default=RESTART_TIMEOUT_SECONDS,
    metavar="DURATION",
    help="How long to wait for the restart.  [default: 45s]",
)
@click.option("--reason", default="gateway restart", help="Reason to write to the log.")
def COMMAND(force: bool, kill_foreign: bool, hard: bool, wait: float, reason: str) -> None:  # noqa: N802 the seam's name
    """Restart the gateway without losing a request.

    The old generation serves until the new one is ready, and finishes its tasks. If the new
    configuration is wrong, the restart is refused and the old generation goes on. Exit code 3 if no
    gateway runs. On Windows the gateway is stopped and then started; interrupted tasks are queued
    again.

    \b
    Examples:
      gateway restart
      gateway restart --hard      after an upgrade; automatic if the version has changed
      gateway restart --force

    \b
    --json prints
      {"restarted": true, "pid", "old": generation, "new": generation, "seconds",
       "refused_webhooks": [what the new settings refuse, and why],
       "agent": the default agent as in GET /health}
    """
    if find_elsewhere() is not None:
        if force or kill_foreign or hard:
            raise click.UsageError("--force, --kill-foreign and --hard are for this machine; use ssh for another one.")
        _restart_elsewhere(reason, wait)
        return
    instance = Instance.from_environment(current_invocation().merged_environment)
    found = lock.lock_holder(instance.lock_file)
    began = time.monotonic()
    forced = force or kill_foreign
    if forced or hard or restart_plan.CURRENT_PLATFORM == "win32":
        refuse_own_agent(found, "gateway restart" + (" --force" if forced else " --hard" if hard else ""))
    if forced:
        outcome = _stop_and_start(instance, found, terminate.FORCE_GRACE_SECONDS, wait, force=True, kill=kill_foreign)
    elif found is None:
        raise NotRunning("the gateway is not running.", remedy="Start it: gateway start")
    elif restart_plan.CURRENT_PLATFORM == "win32":
        outcome = _stop_and_start(
            instance, found, _check_restartable(instance) + stop.KILL_DELAY_SECONDS, wait, force=False
        )
    else:
        outcome = _restart_by_signal(instance, found, hard or found.version != gateway.__version__, reason, wait)
    present = probe.probe_gateway(instance)
    seconds = round(time.monotonic() - began, 2)
    refused = _find_refused_webhooks(instance, present.record)
    _print_restarted(
        {
            "restarted": True,
            "pid": present.record and present.record.pid,
            "old": outcome.old,
            "new": outcome.new,
            "seconds": seconds,
            "refused_webhooks": refused,
            "agent": present.agent,
        }
    )
    output.print_refused_webhooks(refused)


def _restart_elsewhere(reason: str, wait: float) -> None:
    from cli.remote import remote_reports  # late: it imports the client

    _print_restarted(remote_reports.restart_gateway(reason, wait))


def _print_restarted(told: dict[str, Any]) -> None:
    text = f"generation {told['old']} → {told['new']}, {output.format_duration(told['seconds'])}"
    mark = output.add_mark("✅", "Gateway restarted")
    rows = [f"{mark} ({text})", *probe.describe_agent(told["agent"])]
    output.print_result(told, complete_commands("\n".join(rows)))


def _find_refused_webhooks(instance: Instance, present: Record | None) -> list[str]:
    """Return the webhooks in use that the settings refuse, with the address on which the gateway listens now."""
    from gateway import config  # late, as below: they import all of the gateway
    from gateway.assembly import deliveries

    try:
        settings = config.load(instance.env, {"gateway.host": present and present.host})
    except ConfigError:  # it was edited since
        return []
    return [str(one) for one in deliveries.find_refused_webhooks(settings)]


def _check_restartable(instance: Instance) -> float:
    """Return the grace period of a stop, after a check that the gateway could be started again.

    Raises:
        ConfigError: the gateway could not start with the present settings.
    """
    from gateway import config  # late: these import much of the gateway
    from gateway.assembly.checks import check_settings

    settings = config.load(instance.env)
    check_settings(settings, instance.env)
    return settings.gateway.stop_grace


def _stop_and_start(
    instance: Instance,
    found: Record | None,
    timeout_seconds: float,
    wait: float,
    *,
    force: bool,
    kill: bool = False,
) -> Outcome:
    """Stop the gateway, and start it again.

    Args:
        timeout_seconds: seconds to wait for the gateway to end by itself.
        force: whether a service manager kills it without waiting, and another gateway of this user is ended for
            the port.
        kill: whether any other program is ended for the port.
    """
    old = 0
    manager = lookup.find_owner(instance)
    if found is not None:
        answer = probe.probe_gateway(instance).health or {}
        old = int(answer.get("generation", 0))
    if manager is not None:
        manager.stop_service(force=force)
        start.start_by_service(manager, instance, wait, force=force, kill=kill)
        return Outcome("", True, old, int((probe.probe_gateway(instance).health or {}).get("generation", 1)), "")
    state_owner.refuse_foreign_state(instance.home)  # before the stop
    options = StartOptions() if found is None else read_start_options(found)
    if found is not None:
        stop.end_gateway(instance, found, timeout_seconds)
    started = start.start_in_background(instance, options, wait, force=force, kill=kill)
    return Outcome("", True, old, int((started.health or {}).get("generation", 1)), "")


def _restart_by_signal(instance: Instance, found: Record, hard: bool, reason: str, wait: float) -> Outcome:
    """Ask the supervisor to restart, and wait for its answer.

    Raises:
        GatewayError: the supervisor refused, or the new generation failed; the error says whether the old one goes on.
        Unavailable: the supervisor did not answer in time.
    """
    begun = time.time()
    outcome = request_restart(instance, found, hard=hard, reason=reason, wait=wait)
    if not outcome.ok:
        raise GatewayError(
            f"the gateway was not restarted: {outcome.error}", remedy=_describe_rest(instance, outcome, begun)
        )
    return outcome


def _describe_rest(instance: Instance, outcome: Outcome, begun: float) -> str:
    """Return what serves after a failed restart, and what to do if nothing does.

    Args:
        begun: when the restart was asked for, in seconds since 1970 UTC.
    """
    leader = outcome.old if outcome.leader is None else outcome.leader
    if leader:
        return f"Generation {leader} goes on."
    rest = "No generation serves now; the gateway goes on trying to start one. See: gateway logs."
    return rest + _explain_way_back(instance, begun)


def _explain_way_back(instance: Instance, begun: float) -> str:
    """Return how to go back to the version from before, if a migration has copied the database since then."""
    from gateway import config  # late: they import much of the gateway
    from gateway.store.sqlite import copies

    with contextlib.suppress(ConfigError, OSError):
        database = config.load(instance.env).database_path
        for copy in copies.list_before_migration(database).values():
            if copy.stat().st_mtime >= begun:
                return (
                    " The new version has migrated the database, so the version before cannot open it. To go back to"
                    f" that version, stop the gateway, move {database.name} and its -wal away, and copy"
                    f" {output.shorten_home(copy)} to its place: what came after the restart is not in it."
                )
    return ""
