"""Chooses the HTTP proxy for requests to servers outside: a setting, or the variables that other programs use.

The variables: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case, as in
https://docs.python.org/3/library/urllib.request.html#urllib.request.getproxies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.errors import ConfigError


def choose_proxy(url: str, environ: Mapping[str, str], setting: str | None = None, name: str = "proxy") -> str | None:
    """Return the URL of the proxy for requests to a URL, or None if they go there directly.

    This machine is always reached directly.

    Args:
        setting: the proxy from the settings; it goes before the variables.
        name: name of the setting, for errors.

    Raises:
        ConfigError: the proxy is of a kind that cannot be used.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_loopback(host):
        return None
    found, where = setting, name
    if not found:
        variables = (f"{parts.scheme}_proxy", "all_proxy")
        found, where = next(
            (
                (environ[each], each)
                for variable in variables
                for each in (variable, variable.upper())
                if environ.get(each)
            ),
            (None, ""),
        )
        if found is None or _is_excepted(host, parts.port, environ):
            return None
    found = found if "://" in found else f"http://{found}"
    try:
        proxy = urlsplit(found)
        usable = proxy.scheme in ("http", "https") and bool(proxy.hostname) and (proxy.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{where}: only http:// and https:// proxies can be used.")
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_excepted(host: str, port: int | None, environ: Mapping[str, str]) -> bool:
    """Return whether a host, or a domain that it belongs to, is in `NO_PROXY`."""
    given = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").lower().split(",")
    names = {name.strip().removeprefix("*.").lstrip(".") for name in given}
    domains = {host} | {host[at + 1 :] for at, letter in enumerate(host) if letter == "."}
    return "*" in names or bool(names & (domains | {f"{domain}:{port}" for domain in domains}))
