"""Telling systemd how we are: sd_notify(3), over its socket. Without the socket, nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

from gateway.errors import ConfigError

#: variables that systemd sets for us alone; they must not reach children
OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
#: first descriptor that systemd hands over
FIRST_DESCRIPTOR = 3


class Notifier:
    """The line to the service manager; takes its variables out of the environment."""

    def __init__(self, env: MutableMapping[str, str]) -> None:
        given = {name: env.pop(name, "") for name in OURS}
        self._address = given["NOTIFY_SOCKET"]
        mine = given["WATCHDOG_PID"] in ("", str(os.getpid()))
        #: seconds between proofs of life, or None if nobody asks for them
        self.interval = int(given["WATCHDOG_USEC"]) / 2e6 if mine and given["WATCHDOG_USEC"].isdigit() else None
        listens = given["LISTEN_PID"] == str(os.getpid()) and given["LISTEN_FDS"].isdigit()
        #: sockets that the manager holds for us
        self.descriptors = (
            tuple(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(given["LISTEN_FDS"]))) if listens else ()
        )
        #: what a successor in place needs to go on with
        self.kept = {name: value for name, value in given.items() if value and not name.startswith("LISTEN")}

    def listener(self) -> socket.socket | None:
        """Return the first of the sockets that the manager holds for us, or None.

        Raises:
            ConfigError: what it handed over is no socket.
        """
        if not self.descriptors:
            return None
        try:
            os.set_inheritable(self.descriptors[0], False)
            return socket.socket(fileno=self.descriptors[0])
        except OSError as error:
            raise ConfigError(
                f"LISTEN_FDS: descriptor {self.descriptors[0]} is no socket: {error.strerror}."
            ) from error

    def tell(self, **words: str | int) -> None:
        """Send `NAME=value` lines; a manager that is gone is no error."""
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in words.items()).encode()
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(1.0)
            line.sendto(message, address)
