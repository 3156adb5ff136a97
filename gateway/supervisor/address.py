"""The address to listen on, which a restart may change, and the address to connect to."""

from __future__ import annotations

import socket
from collections.abc import Callable

from gateway.errors import PortTaken
from gateway.supervisor import port

#: what to do about a gateway that others reach without encryption
PLAIN_HTTP_REMEDY = "set gateway.tls.cert and gateway.tls.key, or listen on 127.0.0.1 behind a proxy with HTTPS"


def choose_connect_host(listen_host: str) -> str:
    """Return the host to connect to on this machine when a gateway listens on `listen_host`."""
    host = listen_host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


class ListenAddress:
    """The host and port as the settings named them when the present socket was bound."""

    def __init__(self, host: str, number: int, announce: Callable[[str, int], None]) -> None:
        """Args:
        announce: called with the host and the bound port after the gateway has moved.
        """
        self.configured = host, number
        self._next = self.configured
        self._announce = announce

    def bind_if_changed(self, present: socket.socket, host: str, number: int) -> socket.socket | None:
        """Bind a new socket if the settings now name another address; return None if they do not.

        Raises:
            GatewayError: the address cannot be bound.
        """
        same_port = number in (self.configured[1], present.getsockname()[1])
        if host == self.configured[0] and same_port:
            return None
        try:
            bound = port.bind_port(host, number)
        except PortTaken as error:
            if not same_port:
                raise
            raise PortTaken(
                f"the host cannot be changed to {host} while port {number} is served on {self.configured[0]}.",
                remedy="Stop it, and start it again: gateway stop, then: gateway start",
            ) from error
        self._next = host, number
        return bound

    def pin_to_environment(self, listener: socket.socket, *, moving: bool) -> dict[str, str]:
        """Return the variables that make a config name the address of the socket, whatever its file says by now.

        The settings are then checked against the address that is served: a public one needs a token.

        Args:
            moving: whether `bind_if_changed` has bound the socket, and the move is not confirmed yet.
        """
        host = (self._next if moving else self.configured)[0]
        return {"MOONGATE_HOST": host, "MOONGATE_PORT": str(listener.getsockname()[1])}

    def confirm_move(self, to: socket.socket) -> None:
        """Record that the gateway now serves on the socket that `bind_if_changed` bound."""
        self.configured = self._next
        self._announce(self.configured[0], to.getsockname()[1])
