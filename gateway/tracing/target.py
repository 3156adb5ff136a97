"""Where traces and metrics go: the settings, and what they leave open from the standard `OTEL_*` variables.

The variables: https://opentelemetry.io/docs/specs/otel/protocol/exporter/ and
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from msgspec import Struct

from gateway import paths, private_file
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.paths import display_path

#: where a collector on this machine listens
DEFAULT_COLLECTOR_URL = "http://localhost:4318"
#: seconds that one request to the collector takes at most, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says it
DEFAULT_EXPORT_TIMEOUT_SECONDS = 10.0
#: bytes of the file with header fields
MAX_HEADERS_FILE_BYTES = 65_536


class Target(Struct, frozen=True, kw_only=True):
    """A collector, and what it is told about this gateway."""

    traces_url: str
    metrics_url: str
    headers: Mapping[str, str]
    #: in seconds, of one request
    timeout: float
    #: `gzip`, `deflate` or `none`
    compression: str
    #: paths of PEM files: the authorities to trust, and this gateway's own certificate and key
    certificate: str | None
    client_certificate: str | None
    client_key: str | None
    service_name: str
    #: more that is said about this gateway
    resource: Mapping[str, str]
    #: share of the runs that are traced
    ratio: float


def require_packages() -> None:
    """Check that the packages of the extra `otel` are installed.

    Raises:
        ConfigError: one is not.
    """
    for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        if not _is_installed(name):
            raise ConfigError(
                f"tracing.enabled: traces need the package {name.replace('.', '-')}, which is not installed.",
                remedy="pip install 'moongate[otel]', or set tracing.enabled to false.",
            )


def find_target(config: Config, environ: Mapping[str, str]) -> Target:
    """Return where traces and metrics go.

    Args:
        environ: the environment, with what `.env` adds.

    Raises:
        ConfigError: a setting or a variable is wrong.
    """
    given = config.tracing
    named = {name: value for name, value in environ.items() if name.startswith("OTEL_") and value}
    _check_protocol(named)
    resource = _parse_pairs(named.get("OTEL_RESOURCE_ATTRIBUTES", ""), "OTEL_RESOURCE_ATTRIBUTES")
    return Target(
        traces_url=_find_url(given.endpoint, named, "TRACES"),
        metrics_url=_find_url(given.endpoint, named, "METRICS"),
        headers=find_headers(config, environ),
        timeout=_find_timeout(named),
        compression=_find_compression(named),
        certificate=_find_file(named, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        client_certificate=_find_file(named, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
        client_key=_find_file(named, "OTEL_EXPORTER_OTLP_CLIENT_KEY"),
        service_name=given.service_name or named.get("OTEL_SERVICE_NAME") or resource.get("service.name") or "moongate",
        resource=resource,
        ratio=_find_ratio(named) if given.sampling is None else given.sampling,
    )


def find_headers(config: Config, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the header fields of requests to the collector. Their values are secrets.

    Raises:
        ConfigError: a setting or a variable is wrong.
    """
    text = environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    found = {**_parse_pairs(text, "OTEL_EXPORTER_OTLP_HEADERS"), **_read_headers_file(config), **config.tracing.headers}
    for name, value in found.items():
        if not name.isascii() or not name.replace("-", "").isalnum() or any(sign in value for sign in "\r\n\x00"):
            raise ConfigError(f"tracing.headers: {name[:64]!r} is not a header field, or its value has a line break.")
    return found


def is_switched_off(environ: Mapping[str, str]) -> bool:
    """Return whether `OTEL_SDK_DISABLED` switches off what the settings have switched on."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even its parent is there
        return False


def _find_url(endpoint: str | None, named: Mapping[str, str], signal: str) -> str:
    own = named.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    base = endpoint or named.get("OTEL_EXPORTER_OTLP_ENDPOINT") or DEFAULT_COLLECTOR_URL
    url = own if endpoint is None and own else f"{base.rstrip('/')}/v1/{signal.lower()}"
    if not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"tracing.endpoint: {url[:200]!r} is not a URL.", remedy="Write http://host:4318, or correct OTEL_*."
        )
    return url


def _check_protocol(named: Mapping[str, str]) -> None:
    protocol = named.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or named.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "http/protobuf"):
        raise ConfigError(
            f"tracing.enabled: OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, and Moongate sends http/protobuf only.",
            remedy="Unset the variable, and give the collector's address for HTTP, which often has the port 4318.",
        )


def _find_file(named: Mapping[str, str], name: str) -> str | None:
    path = named.get(name)
    if path is not None and not os.access(path, os.R_OK):
        raise ConfigError(f"{name}: cannot read {display_path(Path(path))}.", remedy="Correct it, or its permissions.")
    return path


def _find_timeout(named: Mapping[str, str]) -> float:
    text = named.get("OTEL_EXPORTER_OTLP_TIMEOUT")
    if text is None:
        return DEFAULT_EXPORT_TIMEOUT_SECONDS
    seconds = _parse_number(text, "OTEL_EXPORTER_OTLP_TIMEOUT")
    if not 0 < seconds <= 60:
        raise ConfigError(f"OTEL_EXPORTER_OTLP_TIMEOUT: {seconds:g} seconds are not more than 0 and at most 60.")
    return seconds


def _find_compression(named: Mapping[str, str]) -> str:
    found = named.get("OTEL_EXPORTER_OTLP_COMPRESSION", "none").lower()
    if found not in ("none", "gzip", "deflate"):
        raise ConfigError(f"OTEL_EXPORTER_OTLP_COMPRESSION: {found!r} is not gzip, deflate or none.")
    return found


def _find_ratio(named: Mapping[str, str]) -> float:
    """Return the share that the standard sampler means; a caller's decision counts with each of them."""
    sampler = named.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower().removeprefix("parentbased_")
    if sampler == "always_off":
        return 0.0
    if sampler != "traceidratio":
        return 1.0
    ratio = _parse_number(named.get("OTEL_TRACES_SAMPLER_ARG", "1"), "OTEL_TRACES_SAMPLER_ARG")
    if not 0 <= ratio <= 1:
        raise ConfigError(f"OTEL_TRACES_SAMPLER_ARG: {ratio:g} is not between 0 and 1.")
    return ratio


def _parse_number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{name}: {text[:64]!r} is not a number.") from None


def _parse_pairs(text: str, name: str) -> dict[str, str]:
    """Return `a=1,b=2` as a mapping; values are percent-encoded."""
    found = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"{name}: {len(pair)} characters of it are not name=value.")  # it may be a secret
        found[key.strip()] = unquote(value.strip())
    return found


def _read_headers_file(config: Config) -> dict[str, str]:
    named = config.tracing.headers_file
    if named is None:
        return {}
    file = paths.expand_path(named, "tracing.headers_file")
    try:
        text = private_file.read_plain_file(file, MAX_HEADERS_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"tracing.headers_file: cannot read {display_path(file)}: {error}.",
            remedy="Correct it, or its permissions.",
        ) from error
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.partition(":")
        if not separator:
            raise ConfigError(f"tracing.headers_file: line {number} of {display_path(file)} is not `Name: value`.")
        found[name.strip()] = value.strip()
    return found
