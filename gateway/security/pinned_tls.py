"""Talks TLS with the gateway on this machine: trusts exactly the certificates that it has put into a file.

Names, dates and authorities do not matter: the file is private, and the server proves that it has the key.
"""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path

from gateway import private_file

#: bytes of the file
MAX_SERVED_BYTES = 1 << 20

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def read_served_certificates(file: Path) -> list[bytes] | None:
    """Return the certificates, in DER; None if there is no file: the gateway speaks plain HTTP.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        content = private_file.read_private_file(file, MAX_SERVED_BYTES)
    except FileNotFoundError:
        return None
    return [ssl.PEM_cert_to_DER_cert(found) for found in _CERTIFICATE.findall(content.decode("ascii", "replace"))]


def wrap_pinned(connected: socket.socket, certificates: list[bytes]) -> ssl.SSLSocket:
    """Return the TLS connection over a socket, which is closed if it fails.

    Raises:
        OSError: the server does not speak TLS, or has another certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what is below checks more
    wrapped = None
    try:
        wrapped = context.wrap_socket(connected)
        if wrapped.getpeercert(binary_form=True) not in certificates:
            raise ConnectionRefusedError("the port is held by a program with another certificate")
    except BaseException:
        (wrapped or connected).close()
        raise
    return wrapped
