"""The certificates that this machine trusts, read when the first TLS connection needs them.

aiohttp makes two TLS contexts when it is imported, and reads all certificates for each. That takes a tenth of a start
and some megabytes, and many gateways never open a TLS connection. Import this module before aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import threading
from collections.abc import Iterator
from typing import Any

#: the contexts whose certificates have not been read
_deferred: list[ssl.SSLContext] = []
_reading = threading.Lock()


class DeferredContext(ssl.SSLContext):
    """A context that reads the trusted certificates before its first connection; then it is an ordinary context."""

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        _read_certificates()
        return self.wrap_bio(*args, **options)  # of the ordinary context that it is now

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        _read_certificates()
        return self.wrap_socket(*args, **options)


async def prepare_connection(url: str) -> None:
    """Read the certificates on a thread if a URL needs them and nobody has read them: it takes tens of milliseconds."""
    if _deferred and url.lower().startswith(("https:", "wss:")):
        await asyncio.to_thread(_read_certificates)


@contextlib.contextmanager
def defer_reading() -> Iterator[None]:
    """Have contexts that are made in the block read the certificates later.

    Without certificates, a context refuses every server, so that a mistake here can make nothing less safe.
    """
    names = ("load_default_certs", "set_default_verify_paths")
    own = {name: vars(ssl.SSLContext)[name] for name in names if name in vars(ssl.SSLContext)}
    for name in names:
        setattr(ssl.SSLContext, name, _defer_context)
    try:
        yield
    finally:
        for name in names:
            if name in own:
                setattr(ssl.SSLContext, name, own[name])
            else:
                delattr(ssl.SSLContext, name)


def _defer_context(context: ssl.SSLContext, *_: object) -> None:
    if not isinstance(context, DeferredContext):
        context.__class__ = DeferredContext
        _deferred.append(context)


def _read_certificates() -> None:
    with _reading:
        while _deferred:
            context = _deferred[-1]
            context.load_default_certs()
            context.__class__ = ssl.SSLContext
            _deferred.pop()


if "aiohttp" not in sys.modules:
    with defer_reading():
        import aiohttp  # noqa: F401 makes its contexts
