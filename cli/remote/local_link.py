"""The way to the gateway on this machine.

It finds the gateway by its lock record, and sends the token only to the instance that wrote that record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cli.instance import FoundToken, Instance
from cli.remote import probe
from cli.remote.connection import InterruptibleConnection
from cli.remote.probe import ProbeResult, State
from gateway import paths
from gateway.errors import NotRunning, Unauthorized, Unavailable
from gateway.supervisor.address import choose_connect_host

if TYPE_CHECKING:
    import socket
    import ssl

#: seconds that a running gateway may take until it first answers
FIRST_ANSWER_SECONDS = 5.0
#: seconds between two looks for the gateway
RECONNECT_POLL_SECONDS = 0.2


class LocalLink:
    """The way to the gateway of an instance."""

    path_prefix = ""

    def __init__(self, instance: Instance) -> None:
        self.env = instance.env
        self._instance = instance
        self._found: ProbeResult | None = None

    @property
    def access_token(self) -> FoundToken | None:
        return self._instance.access_token

    def find_gateway(self, *, lost: bool = False) -> None:
        """Find the gateway. One that runs, or ran a moment ago if `lost`, gets some time to answer."""
        deadline = time.monotonic() + FIRST_ANSWER_SECONDS
        hopeful = {State.UNRESPONSIVE, State.STOPPED} if lost else {State.UNRESPONSIVE}
        while (found := probe.probe_gateway(self._instance)).state in hopeful and time.monotonic() < deadline:
            time.sleep(RECONNECT_POLL_SECONDS)
        if found.state is State.RUNNING:
            self._found = found
            return
        if found.record is None:
            raise NotRunning("the gateway is not running.", remedy="Start it: gateway start")
        raise NotRunning(
            f"the gateway (pid {found.record.pid}) does not answer on port {found.record.port}.",
            remedy="It may be starting or stopping. See: gateway logs",
        )

    def is_answering(self) -> bool:
        found = probe.probe_gateway(self._instance)
        if found.state is not State.RUNNING:
            return False
        self._found = found
        return True

    def connect(self, timeout: float) -> InterruptibleConnection:
        host, port = self._address
        connection = InterruptibleConnection(choose_connect_host(host), port, timeout, self._find_encryption())
        connection.connect()
        return connection

    def _find_encryption(self) -> Callable[[socket.socket], ssl.SSLSocket] | None:
        """Return what makes a TLS connection with the gateway; None if it speaks plain HTTP."""
        if self._found is None or self._found.certificates is None:
            return None
        from gateway.security import pinned_tls  # late: few gateways speak TLS

        known = pinned_tls.read_served_certificates(self._found.certificates) or []
        return lambda connected: pinned_tls.wrap_pinned(connected, known)

    def make_url(self, path: str) -> str:
        assert self._found is not None
        assert self._found.record is not None
        return probe.local_url(self._instance, self._found.record) + path

    @property
    def listen_address(self) -> tuple[str, int]:
        return self._address

    @property
    def public_url(self) -> str | None:
        return self._instance.public_url

    def explain_loss(self, run: str, waited: str) -> NotRunning:
        return NotRunning(
            f"the gateway is gone, and has not come back in {waited}.",
            remedy=f"Start it: gateway start\nThen: gateway tasks watch {run}",
        )

    def explain_break(self, error: Exception) -> Unavailable:
        return Unavailable(f"the connection to the gateway broke: {error}.", remedy="Try again.")

    def explain_unauthorized(self) -> Unauthorized:
        token = self._instance.access_token
        started = "The gateway was started with another token, perhaps one in a variable of the shell that started it"
        if token is None:
            remedy = f"{started}. Set MOONGATE_TOKEN to that one."
            return Unauthorized("the gateway needs a token, and none was found.", remedy=remedy)
        file = paths.token_file(self._instance.home)
        other = "" if token.source.endswith(str(file)) or not file.exists() else f", or the one in {file}"
        remedy = f"{started}{other}. Set MOONGATE_TOKEN to that one."
        return Unauthorized(f"the gateway refuses the token from {token.source}.", remedy=remedy)

    @property
    def _address(self) -> tuple[str, int]:
        if self._found is None or self._found.record is None:
            raise Unavailable("the gateway has not been found yet.")
        return self._found.record.host, self._found.record.port
