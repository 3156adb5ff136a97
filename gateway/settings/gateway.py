"""Where the gateway listens, who may call it, and how long its processes may take."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gateway.settings.variables import env_names


class Auth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mode: Annotated[
        Literal["token", "none"],
        Meta(
            description="`token`: every caller needs a bearer token; `none` is allowed on loopback only.",
            extra=env_names("MOONGATE_AUTH_MODE"),
        ),
    ] = "token"
    token: Annotated[
        str | None,
        Meta(
            description="The gateway's token. If it is not set, one is generated and kept in the file `token`.",
            extra=env_names("MOONGATE_TOKEN", "XITTO_SERVER_TOKEN", "OPENCLAW_TOKEN"),
        ),
    ] = None


class Tls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cert: Annotated[
        str | None,
        Meta(
            description="File with the certificate for HTTPS, in PEM, with its intermediate certificates after it;"
            " without it, the gateway speaks plain HTTP. A changed file is used at once.",
            extra=env_names("MOONGATE_TLS_CERT"),
        ),
    ] = None
    key: Annotated[
        str | None,
        Meta(
            description="File with the private key of the certificate, in PEM and without a password;"
            " if it is not set, the key is in the file of the certificate.",
            extra=env_names("MOONGATE_TLS_KEY"),
        ),
    ] = None


class Gateway(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Annotated[
        str,
        Meta(
            min_length=1,
            description="Address to listen on.",
            extra=env_names("MOONGATE_HOST", "XCCLAW_APP_HOST"),
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port to listen on; 0 means any free port.",
            extra=env_names("MOONGATE_PORT", "XCCLAW_APP_PORT"),
        ),
    ] = 18790
    auth: Auth = field(default_factory=Auth)
    tls: Tls = field(default_factory=Tls)
    public_url: Annotated[
        str | None,
        Meta(
            description="Address under which others reach the gateway, such as `https://gate.example`: it is in links,"
            " and requests may use its host name.",
            extra=env_names("MOONGATE_PUBLIC_URL"),
        ),
    ] = None
    allowed_hosts: Annotated[
        list[str],
        Meta(
            description="Further host names that requests may use, in addition to localhost and this machine's names."
        ),
    ] = field(default_factory=list)
    cors_origins: Annotated[
        list[str],
        Meta(description="Origins of web pages that may call the gateway, exactly as the browser sends them."),
    ] = field(default_factory=list)
    trusted_proxies: Annotated[
        list[str],
        Meta(
            description="Addresses of proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are"
            " trusted."
        ),
    ] = field(default_factory=list)
    stop_grace: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Seconds that requests have to finish when the gateway stops.",
            extra=env_names("MOONGATE_STOP_GRACE"),
        ),
    ] = 5.0

    drain_timeout: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds that runs and requests have to finish in the old process at a restart.",
            extra=env_names("MOONGATE_DRAIN_TIMEOUT"),
        ),
    ] = 600.0
    hang_timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Seconds without a heartbeat after which a serving process counts as hung and is replaced.",
            extra=env_names("MOONGATE_HANG_TIMEOUT"),
        ),
    ] = 15.0
    ready_timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Seconds that a new serving process has to become ready.",
            extra=env_names("MOONGATE_READY_TIMEOUT"),
        ),
    ] = 30.0
    confined: Annotated[
        bool,
        Meta(
            description="Whether a login service prevents agents from gaining rights, for example with sudo;"
            " takes effect at the next `gateway install`.",
            extra=env_names("MOONGATE_CONFINED"),
        ),
    ] = True


def is_base_url(text: str) -> bool:
    """Return whether a text is the address of a host, with http or https and without a path."""
    from urllib.parse import urlsplit  # late: few gateways have such a setting

    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not rest and text == "".join(text.split())
