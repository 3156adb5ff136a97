"""Messages to systemd over its socket: sd_notify(3). Without the socket, nothing happens.

systemd also stores the listening socket: a client that connects between a crash and the next start waits
in its backlog. The socket is stored under a name made from its address, so that only a gateway that
must listen on that address takes it back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping

from gateway.errors import ConfigError

#: variables that systemd sets only for this process; children must not get them
SYSTEMD_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
#: first descriptor that systemd hands over
FIRST_DESCRIPTOR = 3
#: beginning of the names under which sockets are stored
_STORED_NAME_PREFIX = "moongate-"


class Notifier:
    """The connection to the service manager; removes its variables from the environment."""

    def __init__(self, env: MutableMapping[str, str]) -> None:
        given = {name: env.pop(name, "") for name in SYSTEMD_VARIABLES}
        self._address = given["NOTIFY_SOCKET"]
        mine = given["WATCHDOG_PID"] in ("", str(os.getpid()))
        #: seconds between watchdog pings, or None if systemd asks for none
        self.interval = int(given["WATCHDOG_USEC"]) / 2e6 if mine and given["WATCHDOG_USEC"].isdigit() else None
        #: monotonic seconds of the last ping
        self._pinged = 0.0
        listens = given["LISTEN_PID"] == str(os.getpid()) and given["LISTEN_FDS"].isdigit()
        count = int(given["LISTEN_FDS"]) if listens else 0
        names = given["LISTEN_FDNAMES"].split(":") if given["LISTEN_FDNAMES"] else []
        #: sockets that the manager holds for us, with their names
        self.descriptors = {FIRST_DESCRIPTOR + at: names[at] if at < len(names) else "unknown" for at in range(count)}
        #: variables that the process needs after a re-execution
        self.kept = {name: value for name, value in given.items() if value and not name.startswith("LISTEN")}

    def take_listener(self, host: str, number: int) -> socket.socket | None:
        """Return the stored socket for this address, or None; close the other stored sockets.

        Args:
            host: the host to listen on, as in the settings.
            number: the port, as in the settings.

        Raises:
            ConfigError: a descriptor from the manager is not a socket.
        """
        wanted, found = _stored_name(host, number), None
        for descriptor, name in self.descriptors.items():
            if found is None and (name == wanted or not name.startswith(_STORED_NAME_PREFIX)):
                found = _adopt_socket(descriptor)
                continue
            if name.startswith(_STORED_NAME_PREFIX) and name != wanted:
                self.send_state(FDSTOREREMOVE=1, FDNAME=name)
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.descriptors = {}
        return found

    def store_listener(self, listener: socket.socket, host: str, number: int) -> None:
        """Store a listening socket in the manager, in case this process crashes."""
        # FDPOLL=0: a polled socket that does not listen yet counts as hung up, and is removed.
        self._send_datagram({"FDSTORE": 1, "FDPOLL": 0, "FDNAME": _stored_name(host, number)}, [listener.fileno()])

    def remove_listener(self, host: str, number: int) -> None:
        """Ask the manager to close the stored socket: no client must wait in its backlog any more."""
        self.send_state(FDSTOREREMOVE=1, FDNAME=_stored_name(host, number))

    def send_state(self, **words: str | int) -> None:
        """Send `NAME=value` lines; ignore it if the manager is gone."""
        self._send_datagram(words, [])

    def ping_watchdog(self) -> None:
        """Ping systemd's watchdog if it asks for that and a ping is due."""
        if self.interval is not None and time.monotonic() - self._pinged >= self.interval:
            self._pinged = time.monotonic()
            self.send_state(WATCHDOG=1)

    def _send_datagram(self, words: Mapping[str, str | int], descriptors: list[int]) -> None:
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in words.items()).encode()
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(1.0)
            line.connect(address)
            socket.send_fds(line, [message], descriptors)


def _stored_name(host: str, number: int) -> str:
    """Return the name of an address in the manager: without a colon, which would end it, and of limited length."""
    return _STORED_NAME_PREFIX + hashlib.sha256(f"{host} {number}".encode()).hexdigest()[:16]


def _adopt_socket(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(f"LISTEN_FDS: descriptor {descriptor} is not a socket: {error.strerror}.") from error
