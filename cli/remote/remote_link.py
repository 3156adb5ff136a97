"""The way to a gateway elsewhere: by its URL, with TLS unless the way is safe without."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

from cli.instance import FoundToken
from cli.remote.connection import InterruptibleConnection
from cli.remote.local_link import FIRST_ANSWER_SECONDS, RECONNECT_POLL_SECONDS
from cli.remote.target import Target
from cli.remote.tls_errors import explain_connection_error, explain_tls_error
from gateway.errors import ConfigError, GatewayError, NotRunning, Unauthorized, Unavailable

#: seconds that a machine elsewhere may take to accept a connection
CONNECT_TIMEOUT_SECONDS = 10.0


class RemoteLink:
    """The way to a target."""

    listen_address = None

    def __init__(self, target: Target, env: Mapping[str, str]) -> None:
        self.env = env
        self.target = target
        self.path_prefix = target.path_prefix
        self._context: ssl.SSLContext | None = None
        #: whether the gateway was reached before, so that an error may pass
        self._was_reached = False

    @property
    def access_token(self) -> FoundToken | None:
        return self.target.token

    @property
    def public_url(self) -> str | None:
        return self.target.url

    def find_gateway(self, *, lost: bool = False) -> None:
        """Wait a moment for a gateway that was lost; the first call of another one shows whether it is there."""
        deadline = time.monotonic() + FIRST_ANSWER_SECONDS
        while lost:
            try:
                self._open(CONNECT_TIMEOUT_SECONDS).close()
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise explain_connection_error(self.target, error) from error
            time.sleep(RECONNECT_POLL_SECONDS)

    def is_answering(self) -> bool:
        try:
            connection = self._open(CONNECT_TIMEOUT_SECONDS)
        except (OSError, GatewayError):
            return False
        try:
            connection.request("GET", f"{self.path_prefix}/livez", headers={"Connection": "close"})
            return connection.getresponse().status == 200
        except (OSError, ValueError):
            return False
        finally:
            connection.close()

    def connect(self, timeout: float) -> InterruptibleConnection:
        try:
            connection = self._open(timeout)
        except OSError as error:
            if self._was_reached:
                raise
            raise explain_connection_error(self.target, error) from error
        self._was_reached = True
        return connection

    def make_url(self, path: str) -> str:
        return self.target.url + path

    def explain_loss(self, run: str, waited: str) -> NotRunning:
        return NotRunning(
            f"{self.target.url} is gone, and has not come back in {waited}.",
            remedy=f"When it answers again: gateway tasks watch {run}",
        )

    def explain_break(self, error: Exception) -> Unavailable:
        hint = "" if self.target.is_encrypted else " If it speaks HTTPS there, write https:// in the address."
        return Unavailable(f"the connection to {self.target.url} broke: {error}.", remedy=f"Try again.{hint}")

    def explain_unauthorized(self) -> Unauthorized:
        token, name = self.target.token, self.target.name
        if token is None:
            here = "--token-file FILE"
            here += ", or MOONGATE_TOKEN" if name is None else f"; always: gateway remote add {name} … --replace"
            return Unauthorized(
                f"{self.target.url} needs a token, and none was given.",
                remedy=f"On its machine: gateway tokens create NAME. Here: {here}.",
            )
        return Unauthorized(
            f"{self.target.url} refuses the token from {token.source}.",
            remedy="It may be revoked, or belong to another gateway. On its machine: gateway tokens list",
        )

    def _open(self, timeout: float) -> InterruptibleConnection:
        """Open a connection.

        Raises:
            UntrustedGateway: its certificate is not to be trusted.
            OSError: it cannot be reached.
        """
        encrypt = self._encrypt if self.target.is_encrypted else None
        connection = InterruptibleConnection(
            self.target.host, self.target.port, timeout, encrypt, connect_timeout=CONNECT_TIMEOUT_SECONDS
        )
        try:
            connection.connect()
        except ssl.SSLError as error:
            raise explain_tls_error(self.target, error) from error
        return connection

    def _encrypt(self, connected: socket.socket) -> ssl.SSLSocket:
        try:
            return self._load_context().wrap_socket(connected, server_hostname=self.target.host)
        except BaseException:
            connected.close()
            raise

    def _load_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = make_context(self.target)
        return self._context


def make_context(target: Target) -> ssl.SSLContext:
    """Return what checks the certificate of a target.

    Raises:
        ConfigError: the file with the certificates to trust cannot be used.
    """
    options: dict[str, Any] = {} if target.ca_file is None else {"cafile": str(target.ca_file)}
    try:
        context = ssl.create_default_context(**options)
    except (OSError, ValueError) as error:
        why = (
            "it has no certificate in PEM"
            if isinstance(error, ssl.SSLError)
            else getattr(error, "strerror", None) or str(error)
        )
        source = "--ca-file" if target.name is None else f"remote {target.name}"
        raise ConfigError(
            f"{source}: cannot use {target.ca_file}: {why}.", remedy="Name a file with certificates: --ca-file FILE"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a file with the server's own certificate is enough
    return context
