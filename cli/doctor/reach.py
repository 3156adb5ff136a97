"""Checks how other machines reach the gateway: encrypted, with a certificate that lasts, under a known address."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from cli.doctor.finding import Finding, Level
from cli.instance import Instance
from cli.remote import network_host
from cli.remote.probe import ProbeResult
from gateway.config import Config, is_loopback
from gateway.supervisor.address import PLAIN_HTTP_REMEDY


def examine_reach(settings: Config, instance: Instance, found: ProbeResult) -> Iterator[Finding]:
    """Report a gateway that others reach without encryption, and one with HTTPS that nobody else can name."""
    record = found.record
    is_open = (
        settings.is_exposed_without_tls if record is None else network_host.is_exposed_without_tls(instance, record)
    )
    if is_open:
        yield Finding(
            "encryption",
            Level.WARNING,
            "plain HTTP beyond this machine",
            "others in the network can read the token and the messages",
            PLAIN_HTTP_REMEDY,
        )
    if settings.certificate_file is None or settings.key_file is None:
        return
    from gateway.security import key_pair  # late: few gateways speak TLS

    pair = key_pair.load_key_pair(settings.certificate_file, settings.key_file)  # `check_settings` has found no error
    until = "" if pair.expires_at is None else f", until {key_pair.describe_expiry(pair.expires_at)}"
    if pair.is_expired:
        yield Finding("certificate", Level.ERROR, "it has expired", remedy="renew it; the gateway takes it at once")
    else:
        yield Finding("certificate", Level.OK, f"{settings.certificate_file}{until}")
    host = urlsplit(settings.public_url or "").hostname
    if host and not settings.gateway.trusted_proxies and key_pair.lacks_name(pair, host):
        yield Finding(
            "public address",
            Level.WARNING,
            f"the certificate is not for {host}, which gateway.public_url names",
            "clients that use that address refuse the certificate",
            "set gateway.public_url to a name of the certificate, or renew it with this one",
        )
    if settings.public_url is None and not is_loopback(settings.gateway.host):
        yield Finding(
            "public address",
            Level.WARNING,
            "gateway.public_url is not set",
            "links have an address for which the certificate is hardly made",
            "set it to https:// with a name of the certificate, and the port",
        )
