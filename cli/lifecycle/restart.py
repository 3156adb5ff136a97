"""Asks the supervisor of a running gateway to restart it, and waits for its answer."""

from __future__ import annotations

import signal
import time

from cli.instance import Instance
from cli.remote import probe
from cli.remote.probe import State
from gateway.errors import GatewayError, NotRunning, Unavailable
from gateway.supervisor import intent, terminate
from gateway.supervisor.intent import Outcome
from gateway.supervisor.record import Record

#: seconds between two looks for the answer
RESTART_POLL_SECONDS = 0.05


def request_restart(instance: Instance, found: Record, *, hard: bool, reason: str, wait: float) -> Outcome:
    """Ask the supervisor to restart, and return its answer.

    Args:
        hard: whether to replace the supervisor, too.
        wait: seconds to wait for the answer.

    Raises:
        GatewayError: the gateway ended.
        Unavailable: the supervisor did not answer in time.
    """
    file = instance.requests_base
    try:
        asked = intent.leave_intent(file, found.pid, hard=hard, reason=reason)
    except OSError as error:
        said = f"cannot ask the gateway to restart: {file.parent}: {error.strerror}."
        raise Unavailable(said, remedy="Free space on that disk, or make it writable.") from error
    if not terminate.signal_process(found.process_identity, signal.SIGUSR1):
        raise NotRunning("the gateway has just ended.", remedy="Start it: gateway start")
    deadline = time.monotonic() + wait
    while (outcome := intent.take_outcome(file, asked)) is None:
        if probe.probe_gateway(instance).state is State.STOPPED:
            raise GatewayError("the gateway ended while it was restarting.", remedy="See: gateway logs")
        if time.monotonic() > deadline:
            raise Unavailable(f"the restart has not finished after {wait:g} s.", remedy="See: gateway logs")
        time.sleep(RESTART_POLL_SECONDS)
    return outcome
