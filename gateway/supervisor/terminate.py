"""Ends another gateway: a process is signalled only if it is certainly a gateway."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from gateway import health_probe, paths
from gateway.errors import PortTaken, Unavailable
from gateway.process import identity
from gateway.process.identity import Identity
from gateway.supervisor import port, record, signals
from gateway.supervisor.address import choose_connect_host
from gateway.supervisor.own_agent import refuse_own_agent
from gateway.supervisor.record import Record

#: seconds from SIGTERM to SIGKILL with `--force`: as in the seed
FORCE_GRACE_SECONDS = 0.7
#: seconds between two checks whether a process is gone
EXIT_POLL_SECONDS = 0.02
#: seconds that serving processes have to end by themselves after their supervisor
ORPHAN_GRACE_SECONDS = 3.0
#: seconds that a killed process has to disappear, and its port to become free
KILL_TIMEOUT_SECONDS = 5.0


def signal_process(who: Identity, number: int) -> bool:
    """Signal exactly this process; return False if it has ended, even if another process has its PID now."""
    if not hasattr(os, "pidfd_open"):
        if not identity.is_alive(who):
            return False
        os.kill(who.pid, number)
        return True
    try:
        descriptor = os.pidfd_open(who.pid)
    except OSError:
        return False
    try:
        # The descriptor stands for one process. The check comes after the opening, so it is the right process.
        if not identity.is_alive(who):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_gone(who: Identity, seconds: float) -> bool:
    """Wait until a process has ended; return whether it has."""
    deadline = time.monotonic() + seconds
    while identity.is_alive(who):
        if time.monotonic() > deadline:
            return False
        time.sleep(EXIT_POLL_SECONDS)
    return True


def wait_free(host: str, number: int, seconds: float) -> bool:
    """Wait until a port can be bound; return whether it can."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(PortTaken):
            port.bind_port(host, number).close()
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(EXIT_POLL_SECONDS)


def end_gateway(found: Record, grace: float, first: signal.Signals = signal.SIGTERM) -> None:
    """End a gateway: first by a signal, after the grace by SIGKILL; return when its port is free.

    Raises:
        Conflict: this process is an agent of that gateway.
        Unavailable: it does not end, or its port stays in use.
    """
    refuse_own_agent(found, "gateway stop")
    generations = _child_identities(found.process_identity)
    if signal_process(found.process_identity, first) and not wait_gone(found.process_identity, grace):
        signal_process(found.process_identity, signals.KILL_SIGNAL)
    if not wait_gone(found.process_identity, KILL_TIMEOUT_SECONDS):
        raise Unavailable(f"the gateway does not end (pid {found.pid}).")
    if wait_free(found.host, found.port, ORPHAN_GRACE_SECONDS):  # its serving processes end by themselves
        return
    for who in generations:
        signal_process(who, signals.KILL_SIGNAL)
    if not wait_free(found.host, found.port, KILL_TIMEOUT_SECONDS):
        raise Unavailable(f"the gateway has ended, but port {found.port} is not free.")


def _child_identities(who: Identity) -> list[Identity]:
    import psutil  # late: `gateway run` does not need it

    try:
        found = [identity.identify_process(child.pid) for child in psutil.Process(who.pid).children()]
    except psutil.Error:
        return []
    return [child for child in found if child is not None] if identity.is_alive(who) else []


def take_port(host: str, number: int, locks: Path, *, kill_foreign: bool) -> None:
    """Free a port: end another gateway of this user, or with `kill_foreign` any program that holds it.

    A service manager is never ended: it would end all services with it.

    Raises:
        PortTaken: another program holds it, and `kill_foreign` is False; or a service manager holds it.
        Unavailable: its holder does not end.
    """
    if wait_free(host, number, 0):
        return
    holders = port.find_holders(number)
    ours = next((one.gateway for one in holders if one.gateway is not None and one.is_own), None)
    ours = ours or next((one for one in _live_records(locks) if one.port == number and _is_answering(one, locks)), None)
    if ours is not None:
        end_gateway(ours, FORCE_GRACE_SECONDS)
        return
    if not kill_foreign or not holders or any(one.is_manager for one in holders):
        raise port.make_taken_error(number)
    for holder in holders:
        if signal_process(holder.who, signal.SIGTERM) and not wait_gone(holder.who, FORCE_GRACE_SECONDS):
            signal_process(holder.who, signals.KILL_SIGNAL)
    if not wait_free(host, number, KILL_TIMEOUT_SECONDS):
        raise Unavailable(f"port {number} is still in use.", remedy=f"{port.describe_holder(number)}.")


def _live_records(locks: Path) -> list[Record]:
    found = [record.read_record(path) for path in locks.glob("gateway.*.lock")]
    return [one for one in found if one is not None and one.is_alive]


def _is_answering(found: Record, locks: Path) -> bool:
    """Return whether exactly the instance of this record answers on its port."""
    certificates = paths.served_certificates_file(locks, Path(found.configPath))
    answer = health_probe.ask_health(choose_connect_host(found.host), found.port, 2.0, certificates=certificates)
    return answer is not None and answer.get("instance") == found.instance
