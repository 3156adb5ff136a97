"""The certificate that is served over TLS, and the one that takes its place when its files change.

Connections go on with the certificate that they began with. A new pair that cannot be used is kept out, and
`/health` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway import log, paths, private_file
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.security import key_pair
from gateway.security.key_pair import KeyPair

#: seconds between two looks at the files
CERTIFICATE_POLL_SECONDS = 2.0
#: seconds before its end in which a certificate counts as a problem: those of a week are renewed three days before
EXPIRY_WARNING_SECONDS = 2 * 86_400.0
#: certificates in the published file: the present one, and those that processes that end may still serve
MAX_PUBLISHED_CERTIFICATES = 3

_log = log.get()


class CertificateWatch:
    """Has the certificate for new connections, and looks at its files now and then."""

    def __init__(self, certificate: Path, key: Path, published: Path) -> None:
        """Args:
        published: the file by which the commands on this machine know the certificate.

        Raises:
            ConfigError: the files cannot be used.
        """
        self._files = certificate, key
        self._published = published
        self._seen = self._look()
        self._pair = key_pair.load_key_pair(certificate, key)
        self._refusal = ""
        _publish(published, [self._pair])

    @property
    def context(self) -> ssl.SSLContext:
        """What the next connection uses."""
        return self._pair.context

    @property
    def problem(self) -> str:
        """What is wrong with the certificate; empty if nothing is."""
        if self._refusal:
            return f"the changed certificate is not used, and the one before goes on: {self._refusal}"
        expires_at = self._pair.expires_at
        if expires_at is None or expires_at - time.time() > EXPIRY_WARNING_SECONDS:
            return ""
        if self._pair.is_expired:
            return "the certificate has expired, and no client should accept it; renew it."
        return f"the certificate expires at {key_pair.describe_expiry(expires_at)}; renew it."

    async def watch_files(self) -> None:
        """Load the files whenever they change."""
        while True:
            await asyncio.sleep(CERTIFICATE_POLL_SECONDS)
            await asyncio.to_thread(self._look_again)

    def _look(self) -> tuple[object, ...]:
        """Return what changes when a file does; a link counts as what it leads to."""
        return tuple(map(_describe_file, self._files))

    def _look_again(self) -> None:
        """Load the files if they have changed. They may lie on a share that does not answer: call it in a thread."""
        seen = self._look()
        if seen != self._seen or self._refusal:
            self._seen = seen
            self._load_again()

    def _load_again(self) -> None:
        try:
            pair = key_pair.load_key_pair(*self._files)
            if pair.is_expired and not self._pair.is_expired:
                raise ConfigError(f"{self._files[0]} has expired.", remedy="Put a valid certificate there.")
            if pair.certificate != self._pair.certificate:
                _publish(self._published, [pair, self._pair])
        except (ConfigError, OSError) as error:  # a file may vanish between two steps
            if str(error) != self._refusal:
                _log.error("tls.refused", why=str(error))
            self._refusal = str(error)
            return
        changed = pair.certificate != self._pair.certificate
        self._pair, self._refusal = pair, ""
        if changed:
            expires = None if pair.expires_at is None else key_pair.describe_expiry(pair.expires_at)
            _log.info("tls.renewed", certificate=str(self._files[0]), expires=expires)


def _describe_file(file: Path) -> object:
    try:
        found = os.stat(file)
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev, found.st_mode


def _publish(file: Path, pairs: list[KeyPair]) -> None:
    """Write the certificates that clients may meet: a serving process before this one may have another.

    Raises:
        ConfigError: the file cannot be written.
    """
    known = [pair.certificate for pair in pairs]
    with contextlib.suppress(OSError):
        for each in private_file.read_plain_file(file, key_pair.MAX_PEM_BYTES).decode("ascii", "replace").split("\n\n"):
            if each.strip() and each.strip() + "\n" not in known:
                known.append(each.strip() + "\n")
    try:
        private_file.replace_private_file(file, "\n".join(known[:MAX_PUBLISHED_CERTIFICATES]).encode())
    except OSError as error:
        raise ConfigError(
            f"cannot write {paths.display_path(file)}: {error.strerror}.", remedy="Free space on that disk."
        ) from error


@asynccontextmanager
async def open_watch(config: Config) -> AsyncIterator[CertificateWatch]:
    """Watch the certificate of the settings while the block runs.

    Raises:
        ConfigError: it cannot be used.
    """
    assert config.certificate_file is not None
    assert config.key_file is not None
    published = paths.served_certificates_file(paths.locks_directory(config.home), config.path)
    watch = CertificateWatch(config.certificate_file, config.key_file, published)
    watching = asyncio.create_task(watch.watch_files(), name="certificate")
    try:
        yield watch
    finally:
        watching.cancel()
