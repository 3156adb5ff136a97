"""Where the settings say to listen, over time: a restart may move the gateway."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from gateway import config
from gateway.errors import PortTaken
from gateway.supervisor import port


class Address:
    """The host and port that the settings said when the present socket was made."""

    def __init__(self, host: str, number: int, announce: Callable[[str, int], None]) -> None:
        """Args:
        announce: told the host, and the port that is really bound, when the gateway has moved.
        """
        self.said = host, number
        self._announce = announce

    def rebind(self, present: socket.socket) -> socket.socket | None:
        """Return another socket, if the settings now say another address.

        Raises:
            GatewayError: it cannot be bound, or the settings cannot be used.
        """
        host, number = _said_now()
        same_port = number in (self.said[1], present.getsockname()[1])
        if host == self.said[0] and same_port:
            return None
        try:
            return port.bind(host, number)
        except PortTaken as error:
            if not same_port:
                raise
            raise PortTaken(
                f"the host cannot be changed to {host} while port {number} is served on {self.said[0]}.",
                remedy="Stop the gateway, and start it again.",
            ) from error

    def moved(self, to: socket.socket) -> None:
        """Take note that this socket is served on now."""
        self.said = _said_now()
        self._announce(self.said[0], to.getsockname()[1])


def _said_now() -> tuple[str, int]:
    said = config.load(os.environ).gateway
    return said.host, said.port
