"""The addresses that webhooks may be sent to: a caller's URL must not reach into this machine's own network.

The policy checks each address right before the connection is made, not the host name that resolved to it.
The table of networks is our own, because `ipaddress.is_global` counts 64:ff9b::/96, 2002::/16 and fec0::/10
as public, and does not look at the IPv4 address inside ::ffff:0:0:0/96.
https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.domain.delivery import WEBHOOK_KIND, Target
from gateway.errors import ConfigError, InvalidRequest

#: longest URL of a webhook
MAX_WEBHOOK_URL_CHARACTERS = 2048
#: longest host name that the domain name system can look up (RFC 1035, 2.3.4)
MAX_HOST_NAME_CHARACTERS = 253

#: labels of up to 63 characters, with dots between them; some names have underscores
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: link-local networks, addresses at which clouds serve credentials, and addresses that are not one host
_FORBIDDEN_RANGES = (
    "0.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32"
    " ::/128 fe80::/10 ff00::/8 fd00:ec2::254/128 fd20:ce::254/128 2001::/32 100::/64"
    " 100:0:0:1::/64 2001:10::/28 2001:20::/28"
)
#: networks whose addresses end in an IPv4 address: NAT64 (RFC 6052), IPv4-translated (RFC 2765)
_IPV4_EMBEDDING_NETWORKS = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::ffff:0:0:0/96"))
_LOOPBACK_RANGES = "127.0.0.0/8 ::1/128"
_PRIVATE_RANGES = (
    "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 198.18.0.0/15 192.0.0.0/24 192.0.2.0/24 198.51.100.0/24"
    " 203.0.113.0/24 192.88.99.0/24 fc00::/7 fec0::/10 2001:db8::/32 3fff::/20 5f00::/16 2001:2::/48 64:ff9b:1::/48"
)


def _parse_networks(text: str) -> list[_Network]:
    return [ipaddress.ip_network(network) for network in text.split()]


_NETWORKS_BY_KIND = {
    "never": _parse_networks(_FORBIDDEN_RANGES),
    "loopback": _parse_networks(_LOOPBACK_RANGES),
    "private": _parse_networks(_PRIVATE_RANGES),
}


class WebhookUse(Struct, frozen=True, kw_only=True):
    """A webhook that a schedule has, or a receiver that deliveries wait for; the configuration trusts neither."""

    #: a URL; of a receiver, its beginning
    address: str
    #: id and name of the schedule; None for a receiver
    schedule: tuple[str, str] | None = None
    #: why the last attempt to send to this receiver was refused; empty if it was not
    refusal: str = ""


class RefusedWebhook(NamedTuple):
    """A webhook in use that the settings refuse."""

    use: WebhookUse
    reason: str

    def __str__(self) -> str:
        if self.use.schedule is None:
            return f"deliveries to {self.use.address}: {self.reason}"
        id_, name = self.use.schedule
        return f"the schedule {f'{name!r} ({id_})' if name else id_}, webhook {self.use.address}: {self.reason}"


class AddressPolicy(Struct, frozen=True, kw_only=True):
    """Which addresses the callers of this gateway may have webhooks sent to."""

    #: whether the gateway listens on loopback only: its callers are on this machine then, and may name loopback
    loopback_only: bool
    #: host names whose private addresses are allowed
    allowed_hosts: frozenset[str] = frozenset()
    #: private networks that are allowed
    allowed_networks: tuple[_Network, ...] = ()

    @classmethod
    def from_allow_list(cls, allowed: Sequence[str], *, local: bool) -> AddressPolicy:
        """Return the policy for the entries of `webhooks.allow_private`.

        Raises:
            ConfigError: an entry is neither a host name nor a network.
        """
        hosts, networks = set(), []
        for entry in allowed:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError as error:
                if not entry or not entry.isascii() or set(entry) & set("/:@ "):
                    raise ConfigError(
                        f'webhooks.allow_private: "{entry}" is neither a host name nor a network such as 10.0.0.0/8.',
                        remedy="Correct or remove it.",
                    ) from error
                hosts.add(entry.lower())
        return cls(loopback_only=local, allowed_hosts=frozenset(hosts), allowed_networks=tuple(networks))

    def explain_refusal(self, host: str, address: str, *, trusted: bool = False) -> str | None:
        """Return why no connection to an address is allowed, or None if it is allowed.

        Args:
            host: the host as the URL names it.
            address: the address that the host resolved to.
            trusted: whether the URL comes from the configuration.
        """
        found = ipaddress.ip_address(address.partition("%")[0])
        meant = _unwrap_address(found)
        kind = "never" if meant is None else _classify_address(meant)
        if kind == "never":
            return f"{address} is an address that webhooks are never sent to"
        if kind is None or trusted or self._is_allowed(host.lower(), {found, meant}):
            return None
        if kind == "loopback" and self.loopback_only and _names_loopback(host):
            return None
        return f"{address} is a {kind} address, and webhooks.allow_private does not list it"

    def explain_url_refusal(self, url: str) -> str | None:
        """Return why a URL that a caller gave is refused, or None.

        A host name is judged when it is resolved, before each connection; only `localhost` is judged by its name.
        """
        host = urlsplit(url).hostname or ""
        address = _find_address(host)
        return None if address is None else self.explain_refusal(host, address)

    def find_refused(self, uses: Sequence[WebhookUse]) -> list[RefusedWebhook]:
        """Return those of the webhooks in use that this policy refuses, with the reason."""
        judged = [(use, self._explain_use_refusal(use)) for use in uses]
        return [RefusedWebhook(use, why) for use, why in judged if why]

    def _explain_use_refusal(self, use: WebhookUse) -> str | None:
        host = urlsplit(use.address).hostname or ""
        if _find_address(host) is None:  # only an attempt shows what a host name resolves to
            return None if host in self.allowed_hosts else use.refusal
        return self.explain_url_refusal(use.address)

    def make_webhook_target(self, url: str, body: str = "task", secret: str = "") -> Target:
        """Return the delivery target for a URL that a caller gave.

        Args:
            body: the format of the request body.
            secret: the caller's own signing secret, if any.

        Raises:
            InvalidRequest: the URL is not valid, or the policy forbids its address.
        """
        fault = find_url_fault(url)
        if fault is not None:
            raise InvalidRequest(f"webhook: {fault}")
        why = self.explain_url_refusal(url)
        if why is not None:
            raise InvalidRequest(f"webhook: {why}.")
        return Target(kind=WEBHOOK_KIND, address=url, format=body, secret=secret)

    def _is_allowed(self, host: str, addresses: set[_Address | None]) -> bool:
        return host in self.allowed_hosts or any(
            address in network for address in addresses for network in self.allowed_networks
        )


def is_never_allowed(address: str) -> bool:
    """Return whether webhooks are never sent to an address, whatever the settings say."""
    meant = _unwrap_address(ipaddress.ip_address(address.partition("%")[0]))
    return meant is None or _classify_address(meant) == "never"


def find_url_fault(url: str) -> str | None:
    """Return what is wrong with the form of a URL that a caller gave, or None."""
    if not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        return "the URL must contain only printable ASCII characters and no spaces."
    if len(url) > MAX_WEBHOOK_URL_CHARACTERS:
        return f"the URL must have at most {MAX_WEBHOOK_URL_CHARACTERS} characters."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"this is not a valid URL: {error}."
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "the URL must begin with http:// or https:// and name a host."
    if "@" in parts.netloc:
        return "the URL must not contain a user name or a password."
    if not _can_be_host(parts.hostname, in_brackets="[" in parts.netloc):
        return f"no host can have the name {parts.hostname[:64]!r}."
    return None


def _can_be_host(host: str, *, in_brackets: bool) -> bool:
    """Return whether a host can be looked up at all; a delivery to one that cannot would be lost after it is accepted.

    Digits and dots alone are an address, which has one way to be written: other parsers read `127.1` as 127.0.0.1.
    """
    if in_brackets or not host.strip("0123456789."):
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return True
    return len(host) <= MAX_HOST_NAME_CHARACTERS and _HOST_NAME.fullmatch(host) is not None


def _find_address(host: str) -> str | None:
    """Return the address that a host of a URL certainly is; None for other host names, whose address may change."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "127.0.0.1" if host == "localhost" else None
    return host


def _unwrap_address(address: _Address) -> _Address | None:
    """Return the IPv4 address inside an IPv6 address, or else the address itself; None if no host can have it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _IPV4_EMBEDDING_NETWORKS):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if int(address) >> 32 == 0 and int(address) > 1:  # IPv4-compatible (RFC 4291): no network routes these
        return None
    return address


def _classify_address(address: _Address) -> str | None:
    return next(
        (kind for kind, networks in _NETWORKS_BY_KIND.items() if any(address in network for network in networks)), None
    )


def _names_loopback(host: str) -> bool:
    """Return whether a URL names this machine itself. A host name that merely resolves to loopback does not."""
    if host.lower() == "localhost":
        return True
    try:
        address = _unwrap_address(ipaddress.ip_address(host))
    except ValueError:
        return False
    return address is not None and _classify_address(address) == "loopback"
