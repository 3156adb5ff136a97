"""The network addresses of callers."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> Address | None:
    """Return the address in a text; None if there is none.

    A socket that also takes IPv4 shows its callers as `::ffff:192.0.2.1`: the result is then the IPv4 address.
    """
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def is_loopback(text: str) -> bool:
    found = parse_address(text)
    return found is not None and found.is_loopback
