"""The network addresses of callers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from aiohttp import web

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: the host that a trusted proxy tells
FORWARDED_HOST = web.RequestKey("forwarded_host", str)


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


def is_in_networks(text: str, networks: Iterable[Network]) -> bool:
    found = parse_address(text)
    return found is not None and any(found in network for network in networks)


def read_host(request: web.Request) -> str:
    """Return the host that the client has sent its request to, with the port if there is one."""
    told = request.get(FORWARDED_HOST)
    return request.headers.get("Host", "") if told is None else told


def read_forwarded_host(request: web.Request) -> str:
    """Return the host that the last proxy tells; empty if it tells none. Only a trusted one may be believed."""
    return request.headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip()


def note_forwarded_host(request: web.Request, host: str) -> None:
    """Take a host that a trusted proxy tells for the one of the request."""
    request[FORWARDED_HOST] = host


def read_socket_address(request: web.Request, end: str) -> str:
    """Return the address of one end of a request's connection: `peername` or `sockname`."""
    found = request.transport.get_extra_info(end) if request.transport else None
    return "?" if not found else _format_socket_address(str(found[0]))


@lru_cache(maxsize=1024)
def _format_socket_address(text: str) -> str:
    """Return an address as it is shown. This is needed for each request, and callers come again."""
    return str(parse_address(text) or text)
