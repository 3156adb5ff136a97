"""Certificates are read before the first TLS connection, not at the start."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.security import trusted_certificates
from gateway.security.trusted_certificates import DeferredContext

#: a certificate for localhost that is its own authority, with its key
SELF_SIGNED_CERTIFICATE = Path(__file__).parents[1] / "data" / "self_signed.pem"

#: prints how many contexts there are, and how many certificates they hold
COUNT_CERTIFICATES = """
import gc, ssl
import {modules}
import aiohttp.connector
found = [one for one in gc.get_objects() if isinstance(one, ssl.SSLContext)]
print(len(found) > 0, sum(one.cert_store_stats()["x509"] for one in found))
"""


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A deferred context of a machine that trusts one certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(SELF_SIGNED_CERTIFICATE))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with trusted_certificates.defer_reading():
        return ssl.create_default_context()


def shake_hands(context: ssl.SSLContext) -> None:
    """Have a client with this context connect to a server with the certificate, in memory."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(SELF_SIGNED_CERTIFICATE)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()


@pytest.mark.parametrize("modules", ["gateway.serve, gateway.unsupervised", "gateway.assembly.checks"])
def test_no_certificate_is_read_at_the_start_of_a_serving_process_or_of_a_check(modules: str) -> None:
    code = COUNT_CERTIFICATES.format(modules=modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "0"]


def test_the_first_connection_reads_what_the_machine_trusts(trusting: ssl.SSLContext) -> None:
    before = trusting.cert_store_stats()["x509"]

    shake_hands(trusting)

    assert (before, trusting.cert_store_stats()["x509"]) == (0, 1)
    assert type(trusting) is ssl.SSLContext


def test_a_deferred_context_trusts_nobody_else(
    trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(trusting)


async def test_an_outbound_connection_prepares_them_if_its_url_needs_them(trusting: ssl.SSLContext) -> None:
    await trusted_certificates.prepare_connection("http://127.0.0.1/")
    assert isinstance(trusting, DeferredContext)

    await trusted_certificates.prepare_connection("HTTPS://127.0.0.1/")
    assert trusting.cert_store_stats()["x509"] == 1


def test_a_blocking_connection_reads_them_too(trusting: ssl.SSLContext) -> None:
    with socket.socket() as unconnected, trusting.wrap_socket(unconnected, server_hostname="localhost"):
        assert trusting.cert_store_stats()["x509"] == 1


def test_contexts_that_are_made_afterwards_are_ordinary() -> None:
    with trusted_certificates.defer_reading():
        pass

    assert type(ssl.create_default_context()) is ssl.SSLContext
