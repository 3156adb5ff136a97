"""Which entries of a config are secret, by their names, and which parts of a URL.

Backups leave them out, commands mask them, and the audit log does not have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from gateway.security.redaction import HIDDEN

#: names of entries whose texts are secret, wherever they stand in the file: those of settings, variables, headers and
#: parameters of URLs
_SECRET_NAMES = re.compile(
    r"(token|secret|passw(or)?d|passphrase|authorization|credential|cookie|signature)s?$"
    r"|(^|[_.-])(pwd|pat|sig|dsn|auth|bearer)$|(?<!by)(?<!com)pass$|api-?key$|[_-]key$",
    re.IGNORECASE,
)
#: an entry such as `privateKey`; that of a public one is none
_CAMEL_KEY = re.compile(r"(?<!ublic)Key$")
#: names of objects all of whose texts are secret: header fields carry credentials under any name
SECRET_OBJECTS = frozenset({"headers"})
#: the password of a URL; a user name without one that is long enough for a token; a token of a bot in a path; and the
#: parameters of a URL
_URL_PASSWORD = re.compile(r"(?<=://)[^/?#\s:@]*:(?P<secret>[^/?#\s@]+)(?=@)")
_URL_USER = re.compile(r"(?<=://)(?P<secret>[^/?#\s:@]{16,}):?(?=@)")
_BOT_PATH = re.compile(r"(?<=/bot)(?P<secret>\d+:[^/?#\s]+)")
_URL_PARAMETER = re.compile(r"[?&](?P<name>[^=&#\s]+)=(?P<secret>[^&#\s]+)")
#: the path of a URL, with what follows it
_PATH = re.compile(r"https?://[^/?#\s]+/(?P<secret>\S+)")
#: a URL whose path is what gives access, as that of a webhook of a chat service
_SECRET_PATH = re.compile(r"https?://[^/?#\s]+/(?P<secret>\S*[^/?#\s]{20}\S*)")


def is_secret_name(name: str) -> bool:
    """Return whether the texts of an entry with this name are secret."""
    return bool(_SECRET_NAMES.search(name) or _CAMEL_KEY.search(name))


def find_secrets_in_url(name: str, text: str, *, any_path: bool = False) -> Iterator[tuple[int, int]]:
    """Yield where secrets stand in a text that may be or have a URL; they may overlap.

    Args:
        name: of its entry.
        any_path: whether the path of a webhook is secret however short it is.
    """
    if name == "webhook" and (found := (_PATH if any_path else _SECRET_PATH).fullmatch(text)):
        yield found.span("secret")
    for pattern in (_URL_PASSWORD, _URL_USER, _BOT_PATH):
        for found in pattern.finditer(text):
            yield found.span("secret")
    if "://" in text:
        for found in _URL_PARAMETER.finditer(text):
            if is_secret_name(found["name"]) or found["name"].lower() == "key":
                yield found.span("secret")


def hide_secrets_in_url(
    name: str, text: str, *, any_path: bool = False, keep: Callable[[str], bool] = lambda _: False
) -> str:
    """Return a text without the secrets of a URL in it.

    Args:
        name: of its entry.
        any_path: as for `find_secrets_in_url`.
        keep: tells which of these secrets are shown.
    """
    said, end = "", 0
    for start, stop in sorted(find_secrets_in_url(name, text, any_path=any_path)):
        if start >= end and not keep(text[start:stop]):
            said, end = f"{said}{text[end:start]}{HIDDEN}", stop
    return said + text[end:]


def hide_secrets_in_key(key: str) -> str:
    """Return the name of an entry without secrets: users choose some, and one may be the URL of a webhook."""
    return hide_secrets_in_url("webhook", key) if "://" in key else key
