"""Traces and metrics for OpenTelemetry."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.settings.variables import env_names


class Tracing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where traces of runs go. What is not set here, the standard `OTEL_*` variables set."""

    enabled: Annotated[
        bool,
        Meta(
            description="Whether each run is sent as a trace to an OpenTelemetry collector; needs the extra `otel`.",
            extra=env_names("MOONGATE_TRACING"),
        ),
    ] = False
    endpoint: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s@]{1,2000}$(?!\n)")] | None,
        Meta(
            description="URL of the collector, which takes OTLP over HTTP; `/v1/traces` and `/v1/metrics` are added. If"
            " not set, `OTEL_EXPORTER_OTLP_ENDPOINT`, or `http://localhost:4318`.",
            extra=env_names("MOONGATE_TRACING_ENDPOINT"),
        ),
    ] = None
    headers: Annotated[
        dict[str, str],
        Meta(description="HTTP header fields of each request to the collector, such as `Authorization`."),
    ] = field(default_factory=dict)
    headers_file: Annotated[
        str | None,
        Meta(
            description="File with more header fields for the collector, one a line: `Name: value`.",
            extra=env_names("MOONGATE_TRACING_HEADERS_FILE"),
        ),
    ] = None
    service_name: Annotated[
        Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,255}$(?!\n)")] | None,
        Meta(
            description="Name of this gateway in traces; if not set, `OTEL_SERVICE_NAME`, or `moongate`.",
            extra=env_names("MOONGATE_TRACING_SERVICE_NAME"),
        ),
    ] = None
    sampling: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(
            description="Share of the runs that are traced, from 0 to 1; a caller's `traceparent` decides for its runs."
            " If not set, `OTEL_TRACES_SAMPLER` says it, or all are.",
            extra=env_names("MOONGATE_TRACING_SAMPLING"),
        ),
    ] = None
    content: Annotated[
        bool,
        Meta(
            description="Whether traces have what was asked and answered, and what tools were given and returned.",
            extra=env_names("MOONGATE_TRACING_CONTENT"),
        ),
    ] = False
    metrics: Annotated[
        bool,
        Meta(
            description="Whether the collector gets the metrics of `/metrics`, too.",
            extra=env_names("MOONGATE_TRACING_METRICS"),
        ),
    ] = True
    metrics_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="Seconds between two sets of metrics.",
            extra=env_names("MOONGATE_TRACING_METRICS_SECONDS"),
        ),
    ] = 60.0
