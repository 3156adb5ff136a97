"""Checks who sends a request: Host, Origin, token and scope, in that order."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn
from urllib.parse import urlsplit

import msgspec
from aiohttp import hdrs, web

from gateway import log
from gateway.api import browser_cookie
from gateway.api.addresses import (
    Network,
    is_in_networks,
    is_loopback,
    note_forwarded_host,
    read_forwarded_host,
    read_socket_address,
)
from gateway.api.audience import Audience
from gateway.api.failed_attempts import FailedAttempts
from gateway.api.user_agent import describe_client
from gateway.domain.actor import Actor, ActorKind
from gateway.domain.token import Scope, hash_secret
from gateway.engine.resources.principal import Principal
from gateway.engine.resources.sign_ins import SignedIn
from gateway.engine.resources.tokens import Tokens
from gateway.errors import Forbidden, InvalidRequest, Misdirected, RateLimited, Unauthorized
from gateway.security.unsafe_text import replace_unsafe

#: allowed Host headers that are remembered, and characters of one: an IPv6 address may have a zone of any length
MAX_REMEMBERED_HOSTS, MAX_REMEMBERED_HOST_CHARACTERS = 256, 300
#: names that are not ours and that trusted proxies tell: the log has so many of them, each once
MAX_LOGGED_FORWARDED_HOSTS = 16
#: requests with an old cookie that one address may send in a minute: a page that is signed out tries a few times
MAX_STALE_COOKIES = 100

#: characters of an address that are stored: an IPv6 address with a zone has fewer
MAX_ADDRESS_CHARACTERS = 64

#: the Set-Cookie header for a browser whose time began again; empty for others
RENEWED_COOKIE = web.RequestKey("renewed_cookie", str)

#: headers that proxies add: a request with one of them was made elsewhere
FORWARDING_HEADERS = ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto")

_log = log.get()


class RequestGuard:
    """Checks a request by its header, before its body is read."""

    def __init__(
        self,
        tokens: Tokens,
        *,
        allowed_hosts: Iterable[str] = (),
        cors_origins: Iterable[str] = (),
        trusted_proxies: Iterable[Network] = (),
        count_refusal: Callable[[Actor, str], None] = lambda who, needed: None,
        public_url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        count_refusal: is told who sent each wrong token and the like, and the scope that a valid token lacks, for the
            audit log.
        """
        self._tokens = tokens
        self._public_origin = public_url
        public_host = urlsplit(public_url).hostname if public_url else None
        names = [*allowed_hosts, *([public_host] if public_host else [])]
        self._names = {"localhost", socket.gethostname().lower(), *map(str.lower, names)}
        self._good_hosts: set[str] = set()
        self._foreign_forwarded_hosts: set[str] = set()
        self.cors_origins = frozenset(cors_origins)
        self._proxies = list(trusted_proxies)
        self._failures = FailedAttempts(clock)
        self._count_refusal = count_refusal
        self._stale_cookies = FailedAttempts(clock, at_most=MAX_STALE_COOKIES, is_logged=False)

    def check_host(self, request: web.Request) -> None:
        """Refuse a request for another host name: an attacker can point the DNS of their own site at this gateway.

        A name that a trusted proxy tells is that of the request if it is ours, and is ignored otherwise: a proxy that
        rewrites the Host may tell any name by which it is reached.

        Raises:
            Misdirected: the Host is not one of our names and not an IP address.
        """
        host = request.headers.get("Host", "")
        if not self._answers_for(host):
            raise Misdirected(
                f"this gateway does not answer for the host {host[:100]!r}.", remedy="Add it to gateway.allowed_hosts."
            )
        if self._proxies and self.is_trusted_proxy(read_socket_address(request, "peername")):
            told = read_forwarded_host(request)
            if told and self._answers_for(told):
                note_forwarded_host(request, told)
            elif told:
                self._log_forwarded_host(told)

    def _answers_for(self, host: str) -> bool:
        if host in self._good_hosts:
            return True
        if not self._is_ours(host):
            return False
        if len(self._good_hosts) < MAX_REMEMBERED_HOSTS and len(host) <= MAX_REMEMBERED_HOST_CHARACTERS:
            self._good_hosts.add(host)
        return True

    def _log_forwarded_host(self, host: str) -> None:
        shown = replace_unsafe(host[:100].encode("utf-8", "replace").decode())
        if shown in self._foreign_forwarded_hosts or len(self._foreign_forwarded_hosts) >= MAX_LOGGED_FORWARDED_HOSTS:
            return
        self._foreign_forwarded_hosts.add(shown)
        _log.warning("proxy.unknown_host", host=shown, remedy="Add it to gateway.allowed_hosts, or set public_url.")

    def check_origin(self, request: web.Request, *, is_page: bool = False) -> None:
        """Refuse a request from a web page of another site.

        Args:
            is_page: whether the request is for a page, which a link of another site may open.

        Raises:
            Forbidden: its Origin is another site, which is not in `cors_origins`.
        """
        headers = request.headers
        origin = headers.get("Origin")
        if origin is None:
            if headers.get("Sec-Fetch-Site") == "cross-site" and not (is_page and _is_navigation(request)):
                raise Forbidden("requests from other sites are not answered.")
            return
        if origin in self.cors_origins or browser_cookie.is_own_origin(origin, request, self._public_origin):
            return
        raise Forbidden(
            f"requests from the origin {origin[:100]!r} are not answered.", remedy="Add it to gateway.cors_origins."
        )

    def identify_caller(self, request: web.Request, also: str | None = None) -> Principal:
        """Return the caller that the token names, or the cookie of a browser that is signed in.

        Args:
            also: a header that may carry the token when there is no Authorization header.

        Raises:
            InvalidRequest: the query has a token; logs and browser histories would keep it.
            Unauthorized: there is no token and no cookie, or a wrong one.
            RateLimited: it is wrong, after too many failed attempts from the same address.
            Forbidden: there is a cookie, and the request is not made by a page of this gateway.
        """
        _check_query(request)
        anonymous = self._tokens.anonymous_principal
        if anonymous is not None:
            return anonymous
        secret = _read_bearer_token(request, also)
        if secret is None:
            return self._identify_browser(request)
        found = self._tokens.authenticate_token(secret)
        if found is None:
            self._refuse_attempt(
                request,
                Unauthorized(
                    "the token is wrong.", remedy="On the gateway's machine, gateway config token prints the right one."
                ),
            )
        return found

    def _identify_browser(self, request: web.Request) -> SignedIn:
        cookies = browser_cookie.read_secrets(request)
        if not cookies:
            raise Unauthorized(remedy="Send the header Authorization: Bearer with the gateway's token.")
        browser_cookie.check_own_page(request, self._public_origin)
        found = self._find_browser(cookies)
        if found is None:
            if not any(map(self._tokens.knows_cookie, cookies)):  # else its time is over, and nobody has made it up
                self._count_refusal(self._name_stranger(request), "")
            seconds = self._stale_cookies.count_attempt(self.client_address(request), request.method, request.path)
            if seconds:
                raise RateLimited(
                    f"this browser is signed out; try again in {seconds} s.", details={"retry_after": seconds}
                )
            raise Unauthorized("this browser is signed out.", remedy="Sign in again: gateway dashboard")
        return found

    def _find_browser(self, cookies: Sequence[str]) -> SignedIn | None:
        return next(filter(None, map(self._tokens.authenticate_cookie, cookies)), None)

    def name_actor(self, request: web.Request, caller: Principal | None) -> Actor:
        """Return who sends a request, for the audit log; None as the caller is somebody without a token."""
        address = self.client_address(request)
        if caller is None:
            return Actor(kind=ActorKind.STRANGER, address=address)
        kind = ActorKind.BROWSER if isinstance(caller, SignedIn) else ActorKind.TOKEN
        return Actor(kind=kind, name=caller.name, address=address)

    def note_use(self, request: web.Request, caller: Principal) -> None:
        """Note that a token is used, from where and by what."""
        client = describe_client(request.headers.get("User-Agent", ""))
        self._tokens.note_use(caller, _shorten_address(self.client_address(request)), client)

    async def record_use(self, request: web.Request, caller: Principal) -> None:
        """Note that a token or browser is used; once a day, give a browser its cookie again: it has a new expiry."""
        self.note_use(request, caller)
        if not isinstance(caller, SignedIn):
            return
        seconds = await self._tokens.record_use(caller)
        if seconds is not None:
            secret = next(one for one in browser_cookie.read_secrets(request) if hash_secret(one) == caller.hash)
            request[RENEWED_COOKIE] = browser_cookie.build_cookie(request, secret, seconds, self._proxies)

    def classify_caller(self, request: web.Request) -> Audience:
        """Return who asks on a route that needs no token.

        A wrong token counts as none, and as a failed attempt; so does an old cookie. A limited token counts as none.
        """
        if self._tokens.anonymous_principal is not None:
            return Audience.HOLDER
        secret = _read_bearer_token(request, None)
        found: Principal | None = None
        if secret:
            found = self._tokens.authenticate_token(secret)
        elif secret is None:
            with suppress(Unauthorized, Forbidden, RateLimited):
                found = self._identify_browser(request)
        if found is not None and found.reach is None:
            return Audience.HOLDER
        if secret and found is None:
            self._count_failure(request)
        return Audience.MACHINE if self._is_local(request) else Audience.WORLD

    async def redeem_ticket(self, request: web.Request, ticket: str) -> Principal:
        """Return the caller that a one-time ticket names, and use the ticket up.

        Raises:
            InvalidRequest, Unauthorized, RateLimited: as with a token.
        """
        _check_query(request)
        anonymous = self._tokens.anonymous_principal
        if anonymous is not None:
            return anonymous
        found = await self._tokens.redeem_ticket(ticket)
        if found is None:
            self._refuse_attempt(
                request,
                Unauthorized(
                    "the ticket is wrong.", remedy="A ticket opens one WebSocket, within 30 s after POST /api/tickets."
                ),
            )
        return found

    @contextmanager
    def count_failed_attempt(self, request: web.Request) -> Iterator[None]:
        """Count a wrong signature as a failed attempt of the sender.

        Raises:
            RateLimited: the signature is wrong, after too many failed attempts from the same address.
        """
        try:
            yield
        except Unauthorized as error:
            self._refuse_attempt(request, error)

    def check_scope(self, request: web.Request, principal: Principal, needed: Scope) -> None:
        if not principal.scope.covers(needed):
            who = self.name_actor(request, principal)
            self._count_refusal(msgspec.structs.replace(who, address=_shorten_address(who.address)), needed)
            raise Forbidden(
                f"this token has the scope {principal.scope}; {needed} is needed.",
                remedy=f"On the gateway's machine: gateway tokens create NAME --scope {needed}",
            )

    def client_address(self, request: web.Request) -> str:
        """Return the caller's address; `X-Forwarded-For` counts only when it comes from a trusted proxy."""
        address = read_socket_address(request, "peername")
        if not self._proxies or not self.is_trusted_proxy(address):
            return address
        # A proxy appends to what the client sent, which may be made up: read from the end, where the proxies write.
        for hop in reversed(",".join(request.headers.getall("X-Forwarded-For", [])).split(",")):
            address = hop.strip() or address
            if not self.is_trusted_proxy(address):
                break
        return address

    def is_trusted_proxy(self, address: str) -> bool:
        """Return whether an address belongs to a trusted proxy."""
        return is_in_networks(address, self._proxies)

    def _is_local(self, request: web.Request) -> bool:
        """Return whether a request was made on this machine, and not only passed on by a proxy on this machine."""
        if any(name in request.headers for name in FORWARDING_HEADERS):
            told = "X-Forwarded-For" in request.headers and self.is_trusted_proxy(
                read_socket_address(request, "peername")
            )
            if not told:
                return False
        address = self.client_address(request)
        return is_loopback(address) or address == read_socket_address(request, "sockname")

    def _refuse_attempt(self, request: web.Request, error: Unauthorized) -> NoReturn:
        seconds = self._count_failure(request)
        if seconds:
            raise RateLimited(f"too many wrong tokens; try again in {seconds} s.", details={"retry_after": seconds})
        raise error

    def _count_failure(self, request: web.Request) -> int:
        """Count a wrong secret. Returns 0, or the seconds until the address may try again."""
        address = self.client_address(request)
        self._count_refusal(self._name_stranger(request), "")
        return self._failures.count_attempt(address, request.method, request.path)

    def _name_stranger(self, request: web.Request) -> Actor:
        return Actor(kind=ActorKind.STRANGER, address=_shorten_address(self.client_address(request)))

    def _is_ours(self, host: str) -> bool:
        name = _parse_hostname(host)
        if name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True


def _shorten_address(address: str) -> str:
    """Return an address to store: a trusted proxy may say anything."""
    if len(address) <= MAX_ADDRESS_CHARACTERS and address.isascii() and address.isprintable():
        return address
    return replace_unsafe(address[:MAX_ADDRESS_CHARACTERS].encode("utf-8", "replace").decode())


def _is_navigation(request: web.Request) -> bool:
    """Return whether a browser opens an address in a window of its own, and not in a frame."""
    headers = request.headers
    return (
        request.method == hdrs.METH_GET
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest", "document") == "document"
    )


def _check_query(request: web.Request) -> None:
    """Refuse a token in the query: logs and browser histories would keep it."""
    if request.query_string and "token" in request.query:
        raise InvalidRequest("a token does not belong in a URL.", remedy="Send it as the header Authorization: Bearer.")


def _parse_hostname(host: str) -> str | None:
    """Return the name in a Host header, without the port; None if the header is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if parts.netloc != host or parts.username is not None or parts.path:
        return None
    return parts.hostname


def _read_bearer_token(request: web.Request, also: str | None) -> bytes | None:
    header = request.headers.get("Authorization")
    if header is None:
        bare = request.headers.get(also) if also else None
        return None if bare is None else bare.strip().encode("utf-8", "surrogateescape")
    scheme, _, secret = header.partition(" ")
    return secret.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""
