"""Who may come in: Host, Origin, token, scope, in that order."""

from __future__ import annotations

import ipaddress
import math
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn
from urllib.parse import urlsplit

from aiohttp import web

from gateway.domain.token import Scope
from gateway.engine.resources.tokens import Keyring, Principal
from gateway.errors import ConfigError, Forbidden, InvalidRequest, Misdirected, RateLimited, Unauthorized

#: failed attempts of one address in `WINDOW` seconds before further wrong tokens are refused unseen
ATTEMPTS = 10
WINDOW = 60.0
#: addresses that are remembered
ADDRESSES = 10_000
#: Host headers that are remembered as good ones
HOSTS = 256

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Bouncer:
    """Checks callers before anything of theirs is read."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        allowed_hosts: Iterable[str] = (),
        cors_origins: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises:
        ConfigError: a trusted proxy is no address.
        """
        self._keyring = keyring
        self._names = {"localhost", socket.gethostname().lower(), *map(str.lower, allowed_hosts)}
        self._good_hosts: set[str] = set()
        self.cors_origins = frozenset(cors_origins)
        self._proxies = [_network(text) for text in trusted_proxies]
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check_host(self, request: web.Request) -> None:
        """Refuse a request that was meant for another name: DNS may be bound to us by a stranger.

        Raises:
            Misdirected: the Host is neither ours nor an address.
        """
        host = request.headers.get("Host", "")
        if host in self._good_hosts:
            return
        if not self._is_ours(host):
            raise Misdirected(
                f"this gateway does not answer for the host {host[:100]!r}.", remedy="Add it to gateway.allowed_hosts."
            )
        if len(self._good_hosts) < HOSTS:
            self._good_hosts.add(host)

    def check_origin(self, request: web.Request) -> None:
        """Refuse a request that a foreign web page made.

        Raises:
            Forbidden: its Origin is another one, and is not in `cors_origins`.
        """
        headers = request.headers
        origin = headers.get("Origin")
        if origin is None:
            if headers.get("Sec-Fetch-Site") == "cross-site":
                raise Forbidden("requests from other sites are not answered.")
            return
        host = headers.get("Host", "").lower()
        if origin in self.cors_origins or origin.lower() in (f"http://{host}", f"https://{host}"):
            return
        raise Forbidden(
            f"requests from the origin {origin[:100]!r} are not answered.", remedy="Add it to gateway.cors_origins."
        )

    def identify(self, request: web.Request, also: str | None = None) -> Principal:
        """Return who calls.

        Args:
            also: a header that carries the token where there is no Authorization.

        Raises:
            InvalidRequest: there is a token in the query, where logs and histories keep it.
            Unauthorized: there is no token, or a wrong one.
            RateLimited: a wrong one, after too many others from there.
        """
        _check_query(request)
        door = self._keyring.open_door
        if door is not None:
            return door
        secret = _bearer(request, also)
        if secret is None:
            raise Unauthorized(remedy="Send the header Authorization: Bearer, with the gateway's token.")
        found = self._keyring.admit(secret)
        if found is None:
            self._refuse(
                request,
                Unauthorized(
                    "the token is wrong.", remedy="The right one is in the state directory, in the file token."
                ),
            )
        return found

    async def redeem(self, request: web.Request, ticket: str) -> Principal:
        """Return who calls with a one-time ticket, which is spent by that.

        Raises:
            InvalidRequest, Unauthorized, RateLimited: as with a token.
        """
        _check_query(request)
        door = self._keyring.open_door
        if door is not None:
            return door
        found = await self._keyring.redeem(ticket)
        if found is None:
            self._refuse(
                request,
                Unauthorized(
                    "the ticket is wrong.", remedy="Each opens one WebSocket, within 30 s of POST /api/tickets."
                ),
            )
        return found

    @contextmanager
    def counting(self, request: web.Request) -> Iterator[None]:
        """Count it as a failed attempt if who signs what is sent turns out not to.

        Raises:
            RateLimited: it failed, after too many others from there.
        """
        try:
            yield
        except Unauthorized as error:
            self._refuse(request, error)

    def check_scope(self, principal: Principal, needed: Scope) -> None:
        if not principal.scope.covers(needed):
            raise Forbidden(f"this token has the scope {principal.scope}; {needed} is needed.")

    def client(self, request: web.Request) -> str:
        """Return the caller's address; what a proxy says counts only if we trust the proxy."""
        peer = request.transport.get_extra_info("peername") if request.transport else None
        address = str(peer[0]) if peer else "?"
        if not self._proxies or not self.trusts(address):
            return address
        # A proxy may add a line of its own to one that the client made up: only the last words are the proxy's.
        for hop in reversed(",".join(request.headers.getall("X-Forwarded-For", [])).split(",")):
            address = hop.strip() or address
            if not self.trusts(address):
                break
        return address

    def trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    def _refuse(self, request: web.Request, error: Unauthorized) -> NoReturn:
        now, key = self._clock(), _normal(self.client(request))
        failures = self._failures.setdefault(key, deque(maxlen=ATTEMPTS))
        self._failures.move_to_end(key)
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
        if len(failures) == ATTEMPTS and now - failures[0] < WINDOW:
            seconds = math.ceil(WINDOW - (now - failures[0]))
            raise RateLimited(f"too many wrong tokens; try again in {seconds} s.", details={"retry_after": seconds})
        failures.append(now)
        raise error

    def _is_ours(self, host: str) -> bool:
        name = _hostname(host)
        if name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True


def _check_query(request: web.Request) -> None:
    """Refuse a token in the query, where logs and histories keep it."""
    if request.query_string and "token" in request.query:
        raise InvalidRequest(
            "a token does not belong into a URL.", remedy="Send it as the header Authorization: Bearer."
        )


def _hostname(host: str) -> str | None:
    """Return the name in a Host header, without its port; None if it is not of that form."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if parts.netloc != host or parts.username is not None or parts.path:
        return None
    return parts.hostname


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(
            f"gateway.trusted_proxies: {text!r} is no address.", remedy="Give addresses or networks, as 10.0.0.0/8."
        ) from error


def _bearer(request: web.Request, also: str | None) -> bytes | None:
    header = request.headers.get("Authorization")
    if header is None:
        bare = request.headers.get(also) if also else None
        return None if bare is None else bare.strip().encode("utf-8", "surrogateescape")
    scheme, _, secret = header.partition(" ")
    return secret.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""


def _normal(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
