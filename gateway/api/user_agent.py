"""Tells people which browser a User-Agent header stands for."""

from __future__ import annotations

from functools import lru_cache

from gateway.security.unsafe_text import replace_unsafe

#: characters of the name of a program that is no browser
MAX_CLIENT_CHARACTERS = 60
#: characters of a header that are looked at
MAX_USER_AGENT_CHARACTERS = 1000

#: what a header has, and the name; the first that fits counts, because most browsers also name others
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chromium/", "Chromium"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def describe_browser(user_agent: str) -> str:
    """Return what a User-Agent header stands for, such as `Firefox on Linux`."""
    text = user_agent[:MAX_USER_AGENT_CHARACTERS]
    browser = next((name for part, name in _BROWSERS if part in text), "a browser")
    system = next((name for part, name in _SYSTEMS if part in text), None)
    return browser if system is None else f"{browser} on {system}"


@lru_cache(256)  # each request has one, and most have the same
def describe_client(user_agent: str) -> str:
    """Return what sends requests: a browser as above, or what a program calls itself; empty if it does not say."""
    if user_agent.startswith("Mozilla/"):
        return describe_browser(user_agent)
    return replace_unsafe(user_agent[:MAX_CLIENT_CHARACTERS].encode("utf-8", "replace").decode())
