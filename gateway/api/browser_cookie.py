"""The cookie of a browser that is signed in, and the checks of requests that have it.

A cookie goes along with every request of a browser to this host, whichever page makes it. So it is good only for
requests of our own pages: https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from gateway.api.addresses import Network, is_in_networks, read_host, read_socket_address
from gateway.errors import Forbidden

#: a header that our pages send with all that changes something; a form or a link of another page cannot send it
DASHBOARD_HEADER = "X-Moongate-Dashboard"
#: cookies of our name that are read: another program on this host may have set some
MAX_COOKIES_READ = 4

_SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})


def check_own_page(request: web.Request, public_origin: str | None = None) -> None:
    """Refuse a request with a cookie unless a page of this gateway makes it, or a person who opens an address.

    Args:
        public_origin: that of our pages by the settings.

    Raises:
        Forbidden: another page makes it, or it changes something and lacks our header.
    """
    headers = request.headers
    origin = headers.get("Origin")
    if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none") or (
        origin is not None and not is_own_origin(origin, request, public_origin)
    ):
        raise Forbidden(
            "the cookie of a browser is good only for the gateway's own pages.",
            remedy="From another page, send a token: Authorization: Bearer.",
        )
    if request.method not in _SAFE_METHODS and headers.get(DASHBOARD_HEADER) != "1":
        raise Forbidden(f"a request of a signed-in browser needs the header {DASHBOARD_HEADER}: 1.")


def is_own_origin(origin: str, request: web.Request, public_origin: str | None = None) -> bool:
    """Return whether an Origin is the address that the request was sent to, or the one of the settings."""
    host = read_host(request).lower()
    return (public_origin is not None and origin.lower() == public_origin.lower()) or origin.lower() in (
        f"http://{host}",
        f"https://{host}",
    )


def read_secrets(request: web.Request) -> list[str]:
    """Return the values of the cookies that have our name."""
    header = request.headers.get("Cookie")
    if header is None:
        return []
    name = _name_cookie(request) + "="
    pairs = (pair.strip() for pair in header.split(";"))
    return [pair.removeprefix(name) for pair in pairs if pair.startswith(name)][:MAX_COOKIES_READ]


def build_cookie(request: web.Request, secret: str, seconds: float, proxies: Collection[Network]) -> str:
    """Return the Set-Cookie header that signs a browser in for some time; for 0 seconds, the one that signs it out.

    Args:
        proxies: those whose word on TLS counts.
    """
    secure = "; Secure" if is_encrypted(request, proxies) else ""
    lifetime = f"Max-Age={math.ceil(max(0, seconds))}"
    return f"{_name_cookie(request)}={secret}; HttpOnly; SameSite=Strict; Path=/; {lifetime}{secure}"


def _name_cookie(request: web.Request) -> str:
    """Return the cookie's name, which has the port: browsers send the cookies of a host to all of its ports."""
    try:
        port = urlsplit(f"//{read_host(request)}").port
    except ValueError:
        port = None
    return "moongate" if port is None else f"moongate_{port}"


def is_encrypted(request: web.Request, proxies: Collection[Network]) -> bool:
    """Return whether the client speaks TLS with us, or with a trusted proxy that says so."""
    if request.secure:
        return True
    told = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    return told == "https" and is_in_networks(read_socket_address(request, "peername"), proxies)
