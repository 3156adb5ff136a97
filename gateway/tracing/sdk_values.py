"""Makes the values of OpenTelemetry's SDK. Only the thread that sends them imports this module."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.samples import Sample

from gateway import __version__
from gateway.domain.trace import TraceContext
from gateway.tracing import spans
from gateway.tracing.attributes import SEMANTIC_CONVENTIONS_VERSION, Attribute

_SCOPE = InstrumentationScope(
    "moongate", __version__, f"https://opentelemetry.io/schemas/{SEMANTIC_CONVENTIONS_VERSION}"
)
_KINDS = {
    spans.SpanKind.INTERNAL: SpanKind.INTERNAL,
    spans.SpanKind.SERVER: SpanKind.SERVER,
    spans.SpanKind.CLIENT: SpanKind.CLIENT,
}
_NANOSECONDS_PER_MILLISECOND = 1_000_000


def make_spans(given: Iterable[spans.Span], resource: Resource) -> list[ReadableSpan]:
    """Return spans as the SDK has them."""
    return [_make_span(one, resource) for one in given]


def _make_span(span: spans.Span, resource: Resource) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=_make_context(span.context),
        parent=None if span.parent is None else _make_context(span.parent, is_remote=True),
        resource=resource,
        attributes={str(name): value for name, value in span.attributes.items()},
        events=[Event(name, timestamp=_to_nanoseconds(at)) for name, at in span.moments.items()],
        links=[
            Link(_make_context(one.context, is_remote=True), {Attribute.LINK.value: one.what}) for one in span.links
        ],
        kind=_KINDS[span.kind],
        status=_make_status(span),
        start_time=_to_nanoseconds(span.started),
        end_time=_to_nanoseconds(max(span.started, span.ended)),
        instrumentation_scope=_SCOPE,
    )


def _make_context(context: TraceContext, *, is_remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote, flags)


def _make_status(span: spans.Span) -> Status:
    if span.ok is None:
        return Status(StatusCode.UNSET)
    return Status(StatusCode.OK) if span.ok else Status(StatusCode.ERROR, span.error or None)


def make_metrics(families: Iterable[MetricFamily], resource: Resource, started: int, now: int) -> MetricsData:
    """Return metrics of a Prometheus registry as the SDK has them, under the names that `/metrics` has.

    Args:
        started: when the counters began to count, in milliseconds since 1970 UTC.
    """
    made = [_make_metric(family, _to_nanoseconds(started), _to_nanoseconds(now)) for family in families]
    metrics = [one for one in made if one is not None]
    scope = ScopeMetrics(_SCOPE, metrics, _SCOPE.schema_url or "")
    return MetricsData([ResourceMetrics(resource, [scope], resource.schema_url)])


def _make_metric(family: MetricFamily, started: int, now: int) -> Metric | None:
    """Return a metric; None if it has no values, or a type that no metric of the gateway has."""
    if not family.samples:
        return None
    match family.type:
        case "gauge":
            points = [_make_point(one, started, now) for one in family.samples]
            return Metric(family.name, family.documentation, "", Gauge(points))
        case "counter":
            name = f"{family.name}_total"
            points = [_make_point(one, started, now) for one in family.samples if one.name == name]
            total = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
            return Metric(name, family.documentation, "", total)
        case "histogram":
            counted = Histogram(_make_histograms(family.samples, started, now), AggregationTemporality.CUMULATIVE)
            return Metric(family.name, family.documentation, "", counted)
    return None


def _make_point(sample: Sample, started: int, now: int) -> NumberDataPoint:
    return NumberDataPoint(dict(sample.labels), started, now, sample.value)


def _make_histograms(samples: Sequence[Sample], started: int, now: int) -> list[HistogramDataPoint]:
    """Return a point for each set of labels."""
    groups: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        groups.setdefault(labels, []).append(sample)
    return [_make_histogram(dict(labels), group, started, now) for labels, group in groups.items()]


def _make_histogram(labels: dict[str, str], group: Sequence[Sample], started: int, now: int) -> HistogramDataPoint:
    buckets = [(float(one.labels["le"]), int(one.value)) for one in group if one.name.endswith("_bucket")]
    below = [0, *(count for _, count in buckets)]  # the counts of Prometheus include those of smaller buckets
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=started,
        time_unix_nano=now,
        count=below[-1],
        sum=next((one.value for one in group if one.name.endswith("_sum")), 0.0),
        bucket_counts=[count - less for less, count in itertools.pairwise(below)],
        explicit_bounds=[bound for bound, _ in buckets[:-1]],
        min=None,  # type: ignore[arg-type]  # the format has them as optional, and Prometheus does not count them
        max=None,  # type: ignore[arg-type]
    )


def _to_nanoseconds(milliseconds: int) -> int:
    return milliseconds * _NANOSECONDS_PER_MILLISECOND
