"""Replaces the gateway that runs by the other version, and watches whether that one serves."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

from cli.instance import Instance
from cli.lifecycle import start
from cli.lifecycle.restart import request_restart
from cli.lifecycle.start_options import StartOptions, read_start_options
from cli.remote import probe
from cli.remote.probe import ProbeResult, State
from cli.service import lookup
from cli.update.installation import Installation
from cli.update.journal import Run
from cli.update.tools import PROGRAM_TIMEOUT_SECONDS, interpreter_of, run_program
from gateway import health_probe
from gateway.errors import Conflict, GatewayError
from gateway.process.own_command import mean_this_machine
from gateway.supervisor import lock, terminate
from gateway.supervisor.address import choose_connect_host
from gateway.supervisor.early_start import SINGLE_PROCESS_VARIABLES

#: seconds that the other version may take to serve: a migration may rewrite the whole database
REPLACE_TIMEOUT_SECONDS = 900.0
#: seconds that a gateway may take to start on the way back
START_AGAIN_TIMEOUT_SECONDS = 90.0
#: seconds that a gateway has to end by itself on the way back
END_GRACE_SECONDS = 8.0
#: seconds between two looks at the gateway
WATCH_POLL_SECONDS = 0.2
#: seconds, beyond the time of watching, that a generation may take to answer after a crash
ANSWER_TIMEOUT_SECONDS = 30.0
#: serving processes that may end within the time of watching: one may have bad luck
MAX_CRASHES = 1


class Replaced(NamedTuple):
    """What came of it that another version was to serve."""

    #: why it does not serve; empty if it does
    why: str
    #: number of the serving process that took over; None if it is unknown
    generation: int | None = None


def describe_run(instance: Instance) -> Run | None:
    """Return how the gateway runs; None if it does not.

    Raises:
        Conflict: it cannot be replaced by another version while it runs.
        Unavailable: a service manager runs it, but cannot be reached from here.
    """
    found = lock.lock_holder(instance.lock_file)
    if found is None:
        return None
    if _is_single_process(found.pid):
        raise Conflict(
            "the gateway runs as one process without a supervisor (MOONGATE_NO_RESPAWN), so it keeps its version.",
            remedy="Nothing has changed. Stop it, update, and start it again.",
        )
    options = read_start_options(found)
    by_service = lookup.find_owner(instance) is not None
    return Run(
        by_service=by_service,
        ready=_is_ready(probe.probe_gateway(instance)),
        port=options.port,
        host=options.host,
        role=options.role,
    )


def _is_single_process(pid: int) -> bool:
    import psutil  # late: only needed here

    try:
        return any(psutil.Process(pid).environ().get(name) for name in SINGLE_PROCESS_VARIABLES)
    except psutil.Error:
        return False


def _is_ready(found: ProbeResult) -> bool:
    if found.record is None:
        return False
    host, port = choose_connect_host(found.record.host), found.record.port
    answer = health_probe.get_json(host, port, "/readyz", probe.PROBE_TIMEOUT_SECONDS, certificates=found.certificates)
    return answer.status == 200


def is_running(instance: Instance) -> bool:
    return lock.lock_holder(instance.lock_file) is not None


def is_serving(instance: Instance, version: str) -> bool:
    """Return whether a version of the gateway answers, with its supervisor."""
    found = probe.probe_gateway(instance)
    return found.state is State.RUNNING and found.record is not None and found.record.version == version


def replace_gateway(instance: Instance, version: str, reason: str) -> Replaced:
    """Let the installed version replace the one that runs, without a pause if possible.

    Args:
        version: the installed one.

    Returns:
        What came of it.
    """
    found = lock.lock_holder(instance.lock_file)
    if found is None:
        return Replaced("the gateway ended")
    try:
        outcome = request_restart(instance, found, hard=True, reason=reason, wait=REPLACE_TIMEOUT_SECONDS)
    except GatewayError as error:
        return Replaced(error.message)
    if not outcome.ok:
        return Replaced(outcome.error or "it did not take over")
    present = lock.lock_holder(instance.lock_file)
    if present is not None and present.version != version:  # one process without a supervisor keeps its version
        return Replaced(f"the gateway still runs version {present.version}")
    return Replaced("", outcome.new)


def watch_gateway(instance: Instance, seconds: float, first: int | None, *, was_ready: bool) -> str:
    """Watch whether the gateway goes on serving. After a crash, the time begins again.

    Args:
        first: number of the serving process that took over; None if it is unknown.
        was_ready: whether it was ready to accept work before; if not, it need not be now.

    Returns:
        Why it does not; empty if it does.
    """
    present, end = first, time.monotonic() + seconds
    while True:
        found = probe.probe_gateway(instance)
        if found.state is State.STOPPED:
            return "the gateway ended soon after it was ready"
        number = int((found.health or {}).get("generation", present or 0))
        first = first or number
        if number - first > MAX_CRASHES:
            return f"{number - first} serving processes ended soon after they were ready"
        if number != present:
            present, end = number, time.monotonic() + seconds
        if time.monotonic() > end:
            why = _explain_unready(found, was_ready=was_ready)
            if not why or time.monotonic() > end + ANSWER_TIMEOUT_SECONDS:
                return why
        time.sleep(WATCH_POLL_SECONDS)


def _explain_unready(found: ProbeResult, *, was_ready: bool) -> str:
    if found.state is not State.RUNNING or found.record is None:
        return "the gateway does not answer"
    return "the gateway is not ready to accept work" if was_ready and not _is_ready(found) else ""


def stop_gateway(instance: Instance, *, by_service: bool) -> None:
    """Stop whatever runs of the gateway.

    Raises:
        Unavailable: it does not end.
    """
    manager = lookup.find_installed(instance) if by_service else None
    if manager is not None:
        manager.stop_service()
    found = lock.lock_holder(instance.lock_file)
    if found is not None:
        terminate.end_gateway(found, END_GRACE_SECONDS)
    before = instance.lock_record
    if before is not None:  # serving processes end by themselves after their supervisor
        terminate.wait_free(before.host, before.port, terminate.ORPHAN_GRACE_SECONDS)


def start_gateway(instance: Instance, run: Run) -> None:
    """Start the gateway as it ran before.

    Raises:
        GatewayError: it does not start.
    """
    found = start.wait_until_settled(instance, START_AGAIN_TIMEOUT_SECONDS)
    if found.state is State.RUNNING:
        return
    manager = lookup.find_installed(instance) if run.by_service else None
    if manager is not None:
        start.start_by_service(manager, instance, START_AGAIN_TIMEOUT_SECONDS)
    else:
        options = StartOptions(run.port, run.host, run.role)
        start.start_in_background(instance, options, START_AGAIN_TIMEOUT_SECONDS)


def rewrite_unit(site: Installation, instance: Instance) -> tuple[str, ...]:
    """Let the installed version write the unit of the service again, if there is one. Returns what to know."""
    if lookup.find_installed(instance) is None:
        return ()
    words = [interpreter_of(site.environment), "-P", "-m", "cli.main", "doctor", "--fix", "--json"]
    try:
        said = run_program(words, mean_this_machine(instance.env), PROGRAM_TIMEOUT_SECONDS)
        found = json.loads(said.out)
        return tuple(one for one in [*found["fixed"], *found["failed"]] if one.startswith("service"))
    except (GatewayError, ValueError, KeyError, TypeError):
        return ("the unit of the service may be outdated: gateway doctor --fix",)
