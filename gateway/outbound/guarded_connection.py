"""Connections to servers that a caller's URL names: only to addresses that the policy allows."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any

import aiohttp
from yarl import URL

from gateway.domain import address_policy
from gateway.domain.address_policy import AddressPolicy
from gateway.domain.delivery import REFUSED_PREFIX
from gateway.outbound.resolver import ThreadResolver

#: characters of an answer that a failure's reason shows, at most
MAX_EXCERPT_CHARACTERS = 200


class SocketGuard:
    """Opens sockets only to addresses that the policy allows for one URL, however its host was resolved."""

    def __init__(self, address_policy: AddressPolicy, url: str, *, trusted: bool = False) -> None:
        """Args:
            trusted: whether the URL comes from the configuration.

        Raises:
            ValueError: it is not a URL.
        """
        self._address_policy = address_policy
        # Parsed by the library that connects: two parsers may find two hosts in one URL.
        self._host = URL(url).host or ""
        self._trusted = trusted
        #: why an address was refused; empty if none was
        self.refusal = ""
        #: whether all addresses so far were some that nothing is ever sent to
        self.all_forbidden = True

    def open_session(self, resolver: ThreadResolver) -> aiohttp.ClientSession:
        """Return a session for one request.

        A connection that was allowed for a trusted URL is never used for another, and every address is checked right
        after its look-up.
        """
        connector = aiohttp.TCPConnector(
            resolver=resolver, socket_factory=self._open_socket, use_dns_cache=False, force_close=True
        )
        timeout = aiohttp.ClientTimeout(total=None)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)

    def _open_socket(self, found: Any) -> socket.socket:
        family, kind, protocol, _, address = found
        why = self._address_policy.explain_refusal(self._host, address[0], trusted=self._trusted)
        self.all_forbidden &= why is not None and address_policy.is_never_allowed(address[0])
        if why is not None:
            self.refusal = f"{REFUSED_PREFIX}{why}"
            raise OSError(self.refusal)
        return socket.socket(family, kind, protocol)


def describe_failure(error: Exception) -> str:
    """Return a short reason, for people, why a try had no answer."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"cannot find the host: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientConnectorCertificateError():
            return f"cannot trust the receiver's certificate: {_describe_tls_error(error.certificate_error)}"
        case aiohttp.ClientConnectorError(os_error=ssl.SSLError() as cause):
            return f"cannot agree on TLS: {_describe_tls_error(cause)}"
        case aiohttp.ClientConnectorError(os_error=cause) if cause.errno:
            return f"cannot connect: {_describe_os_error(cause)}"
        case aiohttp.ServerDisconnectedError():
            return "the receiver closed the connection without an answer"
        case aiohttp.ClientResponseError():  # its status is the library's own: nothing was answered
            return f"the answer is not valid HTTP: {cut_excerpt(error.message)}"
        case aiohttp.ClientPayloadError():
            return "the answer broke off"
        case OSError() if error.errno:
            return f"the connection broke: {_describe_os_error(error)}"
    return f"{type(error).__name__}: {error}"


def _describe_os_error(error: OSError) -> str:
    """Return what the system says. A failed look-up has error numbers of its own."""
    if isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno or 0)


def _describe_tls_error(error: Exception) -> str:
    """Return what OpenSSL says. Its error numbers are not those of the operating system."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return reason.replace("_", " ").lower() if reason else str(error)


def cut_excerpt(text: str) -> str:
    """Return the beginning of a text on one line, without control characters."""
    line = " ".join(text.split())
    return "".join(character for character in line if character.isprintable())[:MAX_EXCERPT_CHARACTERS]
