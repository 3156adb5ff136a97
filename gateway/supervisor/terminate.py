"""Ending another gateway: a process is signalled only when it is proved to be a gateway."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from gateway import health_probe
from gateway.errors import PortTaken, Unavailable
from gateway.process import identity
from gateway.process.identity import Identity
from gateway.supervisor import port, record
from gateway.supervisor.address import connect_host
from gateway.supervisor.record import Record

#: the signal that a process cannot refuse; on Windows all are like that
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
#: seconds from SIGTERM to SIGKILL with `--force`: as in the seed
FORCE_GRACE = 0.7
#: seconds between two checks whether a process is gone
LOOK = 0.02
#: seconds that serving processes get to end by themselves after their supervisor
ORPHANS = 3.0
#: seconds that a killed process and its port may take to be gone
GONE = 5.0


def send(who: Identity, number: int) -> bool:
    """Signal exactly this process; returns False if it has gone, even if its PID is another's now."""
    if not hasattr(os, "pidfd_open"):
        if not identity.alive(who):
            return False
        os.kill(who.pid, number)
        return True
    try:
        descriptor = os.pidfd_open(who.pid)
    except OSError:
        return False
    try:
        # The descriptor stands for one process. It is checked after it was opened, so it is the right one.
        if not identity.alive(who):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_gone(who: Identity, seconds: float) -> bool:
    """Wait until a process has ended; returns whether it has."""
    deadline = time.monotonic() + seconds
    while identity.alive(who):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    return True


def wait_free(host: str, number: int, seconds: float) -> bool:
    """Wait until a port can be bound; returns whether it can."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(PortTaken):
            port.bind(host, number).close()
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)


def end(found: Record, grace: float, first: signal.Signals = signal.SIGTERM) -> None:
    """End a gateway: first by a signal, after the grace by SIGKILL; return when its port is free.

    Raises:
        Unavailable: it does not end, or its port stays taken.
    """
    generations = _children(found.process)
    if send(found.process, first) and not wait_gone(found.process, grace):
        send(found.process, KILL)
    if not wait_gone(found.process, GONE):
        raise Unavailable(f"the gateway does not end (pid {found.pid}).")
    if wait_free(found.host, found.port, ORPHANS):  # its serving processes notice, and end by themselves
        return
    for who in generations:
        send(who, KILL)
    if not wait_free(found.host, found.port, GONE):
        raise Unavailable(f"the gateway has ended, but port {found.port} is not free.")


def _children(who: Identity) -> list[Identity]:
    import psutil  # late: `gateway run` does without

    try:
        found = [identity.of(child.pid) for child in psutil.Process(who.pid).children()]
    except psutil.Error:
        return []
    return [child for child in found if child is not None] if identity.alive(who) else []


def take_port(host: str, number: int, locks: Path, *, kill_foreign: bool) -> None:
    """Free a port: end another gateway of this user, or with `kill_foreign` any program that holds it.

    Raises:
        PortTaken: another program holds it, and `kill_foreign` is False.
        Unavailable: its holder does not end.
    """
    if wait_free(host, number, 0):
        return
    ours = next((found for found in _records(locks) if found.port == number and _answers(found)), None)
    if ours is not None:
        end(ours, FORCE_GRACE)
        return
    holders = port.holders(number)
    if not kill_foreign or not holders:
        raise PortTaken(
            f"Port {number} is already in use. Use --force to kill existing process.",
            remedy=f"{port.describe(number)}, which is not a Moongate gateway: --force will not touch it.\n"
            "Choose another port with --port, end that process, or say --kill-foreign.",
        )
    for who in holders:
        if send(who, signal.SIGTERM) and not wait_gone(who, FORCE_GRACE):
            send(who, KILL)
    if not wait_free(host, number, GONE):
        raise Unavailable(f"port {number} stays taken.", remedy=port.describe(number))


def _records(locks: Path) -> list[Record]:
    found = [record.read(path) for path in locks.glob("gateway.*.lock")]
    return [one for one in found if one is not None and one.alive]


def _answers(found: Record) -> bool:
    """Return whether exactly the instance of this record answers on its port."""
    answer = health_probe.ask_health(connect_host(found.host), found.port, 2.0)
    return answer is not None and answer.get("instance") == found.instance
