"""The address under which other machines reach the gateway on this one. Light, because `gateway status` uses it."""

from __future__ import annotations

import socket

from cli.instance import Instance
from gateway.errors import Conflict
from gateway.supervisor.record import Record

#: addresses that stand for all addresses of this machine, and an address elsewhere of the same kind; nothing is sent
#: there: https://www.rfc-editor.org/rfc/rfc5737, https://www.rfc-editor.org/rfc/rfc3849
_ALL_ADDRESSES = {"0.0.0.0": "192.0.2.1", "": "192.0.2.1", "::": "2001:db8::1"}  # noqa: S104

#: what `start`, `status` and `doctor` say of a gateway that others reach without encryption
PLAIN_HTTP_WARNING = "Plain HTTP beyond this machine: others in the network can read the token and the messages."


def find_external_url(instance: Instance, found: Record) -> str | None:
    """Return the address of a running gateway for other machines; None if only this one reaches it.

    It is `gateway.public_url`, or else an address of this machine in its network.
    """
    if instance.public_url is not None:
        return instance.public_url
    try:
        host = find_network_host(found.host)
    except Conflict:
        return None
    return format_url("https" if instance.served_certificates.exists() else "http", host, found.port)


def is_exposed_without_tls(instance: Instance, found: Record) -> bool:
    """Return whether others reach a running gateway, and nothing is known to encrypt what they send."""
    is_behind_tls = (instance.public_url or "").startswith("https://")
    is_encrypted = instance.served_certificates.exists() or is_behind_tls
    return not (is_encrypted or found.host == "localhost" or _is_loopback(found.host.strip("[]")))


def format_url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def find_network_host(listen_host: str) -> str:
    """Return the address of this machine for others in its network when a gateway listens on `listen_host`.

    Raises:
        Conflict: only this machine can reach the gateway, or this machine is in no network.
    """
    host = listen_host.strip("[]")
    if host in _ALL_ADDRESSES:
        found = _find_own_address(_ALL_ADDRESSES[host]) or (host == "::" and _find_own_address("192.0.2.1")) or None
        if found is None:
            raise Conflict("this machine is in no network.", remedy="Connect it, or give its address with --url.")
        return found
    if host == "localhost" or _is_loopback(host):
        raise Conflict(
            f"the gateway listens on {host}, which no other machine can reach.",
            remedy="Set gateway.host to 0.0.0.0, then: gateway stop, and: gateway start\n"
            "If a proxy with TLS is in front: gateway dashboard --qr --url https://NAME",
        )
    return host


def _find_own_address(elsewhere: str) -> str | None:
    """Return the address from which this machine would send to another one; None if it could not."""
    family = socket.AF_INET6 if ":" in elsewhere else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))  # sends nothing
            found = str(probe.getsockname()[0])
    except OSError:
        return None
    return None if _is_loopback(found) else found


def _is_loopback(host: str) -> bool:
    if host in ("127.0.0.1", "::1"):
        return True
    import ipaddress  # late: `gateway status` rarely needs it

    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
