"""Reads the certificate and the private key of a server, and checks that they can be used."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import stat
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from gateway import private_file
from gateway.errors import ConfigError

#: bytes of a file of certificates
MAX_PEM_BYTES = 1 << 20
#: what others than the owner and the group of a key file may do with it: nothing; and its group may only read it
FORBIDDEN_KEY_MODE = stat.S_IWGRP | stat.S_IRWXO

#: OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED
EXPIRED_CODE = 10
#: OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH
OTHER_NAME_CODES = (62, 64)

_FIRST_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class KeyPair(NamedTuple):
    """A certificate and its key, ready to serve."""

    context: ssl.SSLContext
    #: the server's own certificate, in PEM
    certificate: str
    #: when it expires, in seconds since 1970 UTC; None if that is not known
    expires_at: float | None

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.time()


def load_key_pair(certificate: Path, key: Path) -> KeyPair:
    """Return the pair in two files, which may be the same.

    Raises:
        ConfigError: one cannot be read, is no such thing, does not fit the other, or others may read the key.
    """
    before = _read_both(certificate, key)
    _check_key_mode(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except _NeedsPassword:
        raise ConfigError(
            f"gateway.tls.key: {key} needs a password, which nobody could type.",
            remedy=f"Write it without one: openssl pkey -in {key} -out FILE",
        ) from None
    except (OSError, ValueError) as error:
        raise _explain_refusal(certificate, key, error) from error
    if _read_both(certificate, key) != before:
        raise ConfigError("gateway.tls: the files are being written.", remedy="Try again.")
    found = _FIRST_CERTIFICATE.search(before[0].decode("ascii", "replace"))
    assert found is not None, "the context has loaded a certificate"
    return KeyPair(context, f"{found[0]}\n", _find_expiry(context, found[0]))


class _NeedsPassword(Exception):
    """The key is encrypted."""


def _refuse_password() -> str:
    raise _NeedsPassword


def _read_both(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    return _read_pem("cert", certificate), _read_pem("key", key)


def _read_pem(name: str, file: Path) -> bytes:
    try:
        return private_file.read_plain_file(file, MAX_PEM_BYTES)
    except OSError as error:
        raise ConfigError(
            f"gateway.tls.{name}: cannot read {file}: {error.strerror}.",
            remedy="Correct the path, and let the user of the gateway read the file.",
        ) from error


def _check_key_mode(certificate: Path, key: Path) -> None:
    if os.name == "posix" and key.stat().st_mode & FORBIDDEN_KEY_MODE:
        if key == certificate:
            raise ConfigError(
                f"gateway.tls.key is not set, and {key}, which would have the key, too, can be read by other users.",
                remedy="Set both, in the config file or so:"
                """ gateway config set gateway.tls '{"cert": "FILE", "key": "FILE"}'""",
            )
        raise ConfigError(
            f"gateway.tls.key: other users may read or change {key}.", remedy=f"Make it private: chmod 600 {key}"
        )


def _explain_refusal(certificate: Path, key: Path, error: Exception) -> ConfigError:
    """Return the error that says what is wrong with a pair, and what to do."""
    reason = getattr(error, "reason", None) or re.sub(r" \(_ssl\.c:\d+\)", "", str(error))
    if reason == "KEY_VALUES_MISMATCH":
        said = f"gateway.tls: the key {key} is not the one of the certificate {certificate}."
        return ConfigError(said, remedy="Name the two files that belong together.")
    return ConfigError(
        f"gateway.tls: {certificate} and {key} are not a certificate and its key in PEM ({reason}).",
        remedy="See what the first one is: openssl x509 -noout -text -in FILE",
    )


def lacks_name(pair: KeyPair, host: str) -> bool:
    """Return whether clients that name a host refuse the certificate for that name."""
    try:
        _shake_hands(pair.context, pair.certificate, host)
    except ssl.SSLCertVerificationError as error:
        return error.verify_code in OTHER_NAME_CODES
    except (ssl.SSLError, ValueError):
        return False
    return False


def _find_expiry(server: ssl.SSLContext, certificate: str) -> float | None:
    """Return when a certificate expires; None if it cannot be told."""
    try:
        ends_at = _shake_hands(server, certificate).get("notAfter")
    except ssl.SSLCertVerificationError as error:
        return 0.0 if error.verify_code == EXPIRED_CODE else None
    except ssl.SSLError:
        return None
    return float(ssl.cert_time_to_seconds(ends_at)) if isinstance(ends_at, str) else None


def _shake_hands(server: ssl.SSLContext, certificate: str, host: str | None = None) -> Mapping[str, object]:
    """Return the fields of a certificate, which Python shows only to its peer: this makes a handshake in memory.

    Args:
        host: what the client calls the server; None if it does not look at the name.

    Raises:
        ssl.SSLError: the client refuses the certificate.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = host is not None
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[0].getpeercert() or {}


def describe_expiry(expires_at: float) -> str:
    """Return the day on which a certificate expires."""
    return datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
