"""The port: binding is the only test of whether it is free."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import NamedTuple

from gateway.errors import ConfigError, PortTaken
from gateway.process import identity
from gateway.process.identity import Identity
from gateway.supervisor import record
from gateway.supervisor.record import Record

#: programs that keep the sockets of services open, also while these do not run: they are never ended for a port
_SERVICE_MANAGERS = ("systemd", "init", "launchd")


_HOST_REMEDY = "Set it to an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them."


class Holder(NamedTuple):
    """A process that listens on a port."""

    who: Identity
    command: str
    user: str
    #: whether it runs as this user
    is_own: bool
    #: the record of the gateway that the process belongs to; None if it belongs to none
    gateway: Record | None
    #: whether it is a service manager
    is_manager: bool

    def describe(self) -> str:
        """Return who it is, for people; without a full stop. Of a gateway, the PID is that of its supervisor."""
        if self.gateway is not None:
            return f"Held by pid {self.gateway.pid} (the gateway of {self.gateway.configPath}, user {self.user})"
        if self.is_manager:
            return f"Held by pid {self.who.pid} ({self.command}, user {self.user}), which keeps it for a service"
        return f"Held by pid {self.who.pid} ({self.command}, user {self.user})"


def bind_port(host: str, port: int) -> socket.socket:
    """Return a bound TCP socket; children do not inherit it.

    Raises:
        PortTaken: another program has the port; the message says which.
        ConfigError: the host is not an address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be resolved
        why = error.strerror if isinstance(error, OSError) else "it is no name of a host"
        raise ConfigError(f"gateway.host: cannot listen on {host!r}: {why}.", remedy=_HOST_REMEDY) from error
    if os.name == "posix":  # on Windows it would let two programs share the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise make_taken_error(port) from error
        if error.errno == errno.EACCES:
            raise ConfigError(
                f"gateway.port: port {port} needs more rights than this user has.", remedy="Choose a port from 1024 on."
            ) from error
        raise ConfigError(
            f"gateway.host: cannot listen on {host}:{port}: {error.strerror}.", remedy=_HOST_REMEDY
        ) from error
    return listener


def make_taken_error(port: int) -> PortTaken:
    """Return the error that says who holds a port, and what to do."""
    said, holders = f"Port {port} is already in use.", find_holders(port)
    shown, holder = describe_holder(port), holders[0] if holders else None
    if holder is not None and holder.is_manager:
        stop = "If the service is Moongate's own: gateway stop. Or choose another port with --port."
        return PortTaken(said, remedy=f"\n{shown}.\n{stop}")
    said += " Use --force to kill existing process."
    if holder is not None and holder.gateway is not None and holder.is_own:
        return PortTaken(said, remedy=f"\n{shown}.\nOr choose another port with --port.")
    return PortTaken(
        said,
        remedy=f"\n{shown}, which is not a Moongate gateway of this user: --force will not touch it.\n"
        "Choose another port with --port, end that process, or use --force --kill-foreign.",
    )


def find_holders(port: int) -> list[Holder]:
    """Return the processes that listen on a port, as far as this user can see them."""
    import psutil  # late: only needed to explain an error

    try:
        pids = {
            found.pid
            for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid
        }
    except (psutil.Error, OSError):
        return []
    holders = []
    for pid in sorted(pids):
        who = identity.identify_process(pid)
        with contextlib.suppress(psutil.Error):
            if who is not None:
                holders.append(_examine_holder(who, port))
    return holders


def describe_holder(port: int) -> str:
    """Return which process listens on a port, as far as this user can see it; without a full stop."""
    holders = find_holders(port)
    return holders[0].describe() if holders else "Held by a process that this user cannot see"


def _examine_holder(who: Identity, port: int) -> Holder:
    import psutil  # late: only needed to explain an error

    process = psutil.Process(who.pid)
    name = process.name()
    is_manager = name in _SERVICE_MANAGERS
    command = name if is_manager else " ".join(process.cmdline()[:3])[:80] or name
    return Holder(
        who=who,
        command=command,
        user=process.username(),
        is_own=os.name != "posix" or process.uids().real == os.getuid(),
        gateway=None if is_manager else _find_gateway(who.pid, port),
        is_manager=is_manager,
    )


def _find_gateway(pid: int, port: int) -> Record | None:
    """Return the record of the gateway whose supervisor or serving process has this PID; None if there is none.

    The supervisor keeps its lock file open, wherever its state directory is.
    """
    import psutil  # late: only needed to explain an error

    process = psutil.Process(pid)
    for candidate in filter(None, (process, process.parent())):
        with contextlib.suppress(psutil.Error):
            for opened in candidate.open_files():
                found = record.read_record(Path(opened.path)) if opened.path.endswith(".lock") else None
                if found is not None and found.pid == candidate.pid and found.port == port and found.is_alive:
                    return found
    return None
