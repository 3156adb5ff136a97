"""Tells people which browser a User-Agent header stands for."""

from __future__ import annotations

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
