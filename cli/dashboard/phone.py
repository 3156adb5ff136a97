"""Shows a phone the way to the gateway: an address that it can reach, and a QR code with it."""

from __future__ import annotations

import ipaddress
import socket

from gateway.errors import Conflict

#: addresses that stand for all addresses of this machine, and an address elsewhere of the same kind; nothing is sent
#: there: https://www.rfc-editor.org/rfc/rfc5737, https://www.rfc-editor.org/rfc/rfc3849
_ALL_ADDRESSES = {"0.0.0.0": "192.0.2.1", "": "192.0.2.1", "::": "2001:db8::1"}  # noqa: S104

#: what shows two modules, one above the other; keys are whether the upper and the lower one is dark
_HALVES = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
#: light modules around a code: ISO/IEC 18004
QUIET_ZONE_MODULES = 4


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


def draw_qr_code(text: str) -> list[str]:
    """Return the lines of a QR code: light on dark."""
    import segno  # late: only this command needs it

    rows = [list(row) for row in segno.make(text, error="l", micro=False).matrix_iter(border=QUIET_ZONE_MODULES)]
    rows += [[0] * len(rows[0])] if len(rows) % 2 else []
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(_HALVES[bool(a), bool(b)] for a, b in zip(*pair, strict=True)) for pair in pairs]


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
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
