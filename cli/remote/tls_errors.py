"""Says in one line why a gateway elsewhere cannot be reached, or not be trusted, and what to do."""

from __future__ import annotations

import socket
import ssl

from cli.remote.target import Target
from gateway.errors import GatewayError, NotRunning

#: OpenSSL's results of a check, https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
NOT_YET_VALID, EXPIRED, OTHER_NAME, OTHER_ADDRESS = 9, 10, 62, 64
UNKNOWN_ISSUERS = frozenset({18, 19, 20, 21})
#: OpenSSL's errors for an answer that is not TLS
NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE")


class UntrustedGateway(GatewayError):
    """The gateway is not to be trusted."""


def explain_tls_error(target: Target, error: ssl.SSLError) -> GatewayError:
    """Return the error for a TLS connection that fails."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(target, error)
    place = f"{target.host}:{target.port}"
    if error.reason in NOT_TLS or isinstance(error, ssl.SSLEOFError):
        return NotRunning(
            f"{place} does not speak TLS.",
            remedy="Is the port right? A gateway without TLS is reached through an SSH tunnel or a proxy.",
        )
    return NotRunning(f"TLS with {place} failed: {error.reason or error}.", remedy="See: gateway logs, on its machine.")


def _explain_certificate(target: Target, error: ssl.SSLCertVerificationError) -> UntrustedGateway:
    whose = f"the certificate of {target.host}:{target.port}"
    if error.verify_code == EXPIRED:
        return UntrustedGateway(f"{whose} has expired.", remedy="Renew it there, and check the clock of this machine.")
    if error.verify_code == NOT_YET_VALID:
        return UntrustedGateway(f"{whose} is not valid yet.", remedy="Check the clocks of both machines.")
    if error.verify_code in (OTHER_NAME, OTHER_ADDRESS):
        return UntrustedGateway(
            f"{whose} is for another name.",
            remedy="Use a name in the address that the certificate has, or renew it with this one.",
        )
    if error.verify_code in UNKNOWN_ISSUERS:
        trusted = f"the file {target.ca_file}" if target.ca_file else "this machine"
        return UntrustedGateway(
            f"{whose} is not from an authority that {trusted} trusts.",
            remedy="If it is your own authority, name its certificate: --ca-file FILE",
        )
    return UntrustedGateway(f"{whose} is refused: {error.verify_message}.", remedy="Renew it there.")


def explain_connection_error(target: Target, error: OSError) -> GatewayError:
    """Return the error for a gateway that cannot be reached."""
    if isinstance(error, ssl.SSLError):
        return explain_tls_error(target, error)
    if isinstance(error, socket.gaierror):
        return NotRunning(f"there is no host {target.host}: {error.strerror}.", remedy="Check the name in the address.")
    is_late = isinstance(error, TimeoutError)
    said = "it did not answer in time" if is_late else (error.strerror or str(error)).lower()
    return NotRunning(
        f"cannot reach {target.url}: {said}.",
        remedy="Does the gateway run there, listen on that address, and does the firewall let you in?",
    )
