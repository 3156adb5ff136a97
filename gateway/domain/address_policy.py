"""Which addresses a webhook may go to: a URL that a caller gives must not open this machine's own network.

Judged is each address that is about to be connected to, not the name that led there. The table is
our own: `ipaddress.is_global` takes 64:ff9b::/96, 2002::/16 and fec0::/10 for public ones.
https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from gateway.domain.delivery import WEBHOOK, Target
from gateway.errors import ConfigError, InvalidRequest

#: characters of a webhook's URL
URL_LENGTH = 2048

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: link-local ones, those that clouds answer at with credentials, and what is no single host
_NEVER = (
    "0.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32"
    " ::/128 fe80::/10 ff00::/8 fd00:ec2::254/128 fd20:ce::254/128 2001::/32 100::/64"
)
_LOOPBACK = "127.0.0.0/8 ::1/128"
_PRIVATE = (
    "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 198.18.0.0/15 192.0.0.0/24 192.0.2.0/24 198.51.100.0/24"
    " 203.0.113.0/24 192.88.99.0/24 fc00::/7 fec0::/10 2001:db8::/32 3fff::/20 5f00::/16 2001:2::/48 64:ff9b:1::/48"
)


def _networks(text: str) -> list[_Network]:
    return [ipaddress.ip_network(network) for network in text.split()]


_TABLE = {"never": _networks(_NEVER), "loopback": _networks(_LOOPBACK), "private": _networks(_PRIVATE)}


class Reach(Struct, frozen=True, kw_only=True):
    """What callers of this gateway may reach by it."""

    #: whether the gateway listens on loopback only, so that its callers are on this machine anyway
    local: bool
    #: names of hosts whose private addresses are allowed
    hosts: frozenset[str] = frozenset()
    #: private networks that are allowed
    networks: tuple[_Network, ...] = ()

    @classmethod
    def of(cls, allowed: Sequence[str], *, local: bool) -> Reach:
        """Read hosts and networks.

        Raises:
            ConfigError: one is neither.
        """
        hosts, networks = set(), []
        for entry in allowed:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError as error:
                if not entry or not entry.isascii() or set(entry) & set("/:@ "):
                    raise ConfigError(
                        f'webhooks.allow_private: "{entry}" is no host and no network such as 10.0.0.0/8.'
                    ) from error
                hosts.add(entry.lower())
        return cls(local=local, hosts=frozenset(hosts), networks=tuple(networks))

    def refusal(self, host: str, address: str, *, trusted: bool = False) -> str | None:
        """Return why an address must not be connected to; None if it may.

        Args:
            host: as it stands in the URL.
            address: what it was resolved to.
            trusted: whether the URL comes from the configuration.
        """
        found = ipaddress.ip_address(address.partition("%")[0])
        meant = _meant(found)
        kind = "never" if meant is None else _kind(meant)
        if kind == "never":
            return f"{address} is never sent to"
        if kind is None or trusted or self._allowed(host.lower(), {found, meant}):
            return None
        if kind == "loopback" and self.local and _names_loopback(host):
            return None
        return f"{address} is a {kind} address, which webhooks.allow_private does not name"

    def target(self, url: str, body: str = "task", secret: str = "") -> Target:
        """Return the target that a caller's URL means.

        Args:
            body: the format of what is sent.
            secret: what it is signed with, if the caller says so.

        Raises:
            InvalidRequest: nothing can or may be sent there.
        """
        parts = _split(url)
        host = parts.hostname or ""
        try:
            why = self.refusal(host, host)
        except ValueError:  # a name: judged when it is resolved
            why = None
        if why is not None:
            raise InvalidRequest(f"webhook: {why}.")
        return Target(kind=WEBHOOK, address=url, format=body, secret=secret)

    def _allowed(self, host: str, addresses: set[_Address | None]) -> bool:
        return host in self.hosts or any(address in network for address in addresses for network in self.networks)


def _split(url: str) -> SplitResult:
    if not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        raise InvalidRequest("webhook: a URL of printable ASCII characters without spaces.")
    if len(url) > URL_LENGTH:
        raise InvalidRequest(f"webhook: at most {URL_LENGTH} characters.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"webhook: not a URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidRequest("webhook: a URL that begins with http:// or https:// and names a host.")
    if "@" in parts.netloc:
        raise InvalidRequest("webhook: a URL without a user's name and password.")
    return parts


def _meant(address: _Address) -> _Address | None:
    """Return the address that one with another inside leads to; None if it leads nowhere good."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if int(address) >> 32 == 0 and int(address) > 1:  # IPv4-compatible, RFC 4291: nobody routes them
        return None
    return address


def _kind(address: _Address) -> str | None:
    return next((kind for kind, networks in _TABLE.items() if any(address in network for network in networks)), None)


def _names_loopback(host: str) -> bool:
    """Tell whether a URL says itself that it means this machine: a name that only leads here does not."""
    if host.lower() == "localhost":
        return True
    try:
        address = _meant(ipaddress.ip_address(host))
    except ValueError:
        return False
    return address is not None and _kind(address) == "loopback"
