"""The port: binding is the only test of whether it is free."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from gateway.errors import ConfigError, PortTaken
from gateway.process import identity
from gateway.process.identity import Identity


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
        raise ConfigError(f"gateway.host: cannot listen on {host!r}: {error}.") from error
    if os.name == "posix":  # on Windows it would let two programs share the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"Port {port} is already in use. Use --force to kill existing process.",
                remedy=f"\n{describe_holder(port)}.",
            ) from error
        if error.errno == errno.EACCES:
            raise ConfigError(f"gateway.port: port {port} needs more rights than this user has.") from error
        raise ConfigError(f"gateway.host: cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener


def port_holders(port: int) -> list[Identity]:
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
    return [who for who in map(identity.identify_process, sorted(pids)) if who is not None]


def describe_holder(port: int) -> str:
    """Return which process listens on a port, as far as this user can see it; without a full stop."""
    import psutil

    for who in port_holders(port):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(who.pid)
            shown = " ".join(process.cmdline()[:3])[:80] or process.name()
            return f"Held by pid {who.pid} ({shown}, user {process.username()})"
    return "Held by a process that this user cannot see"
