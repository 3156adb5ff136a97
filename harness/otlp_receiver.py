"""A receiver of OpenTelemetry traces and metrics over HTTP: it decodes the protobuf that a collector would get."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


class ReceivedSpan(NamedTuple):
    """A span as it came; times are nanoseconds since 1970 UTC."""

    name: str
    trace_id: str
    span_id: str
    #: empty if it has none
    parent_id: str
    #: by OpenTelemetry's numbers: 1 internal, 2 server, 3 client
    kind: int
    started: int
    ended: int
    attributes: Mapping[str, Any]
    #: 0 unset, 1 ok, 2 error
    status: int
    message: str
    #: trace ids of linked spans, by what they have to do with this one
    links: Mapping[str, str]
    #: names of its events
    events: tuple[str, ...]
    #: what is said about the process that sent it
    resource: Mapping[str, Any]


class OtlpReceiver:
    """What a collector has received."""

    def __init__(self) -> None:
        #: statuses of the next answers; 200 when there are no more
        self.script: deque[int] = deque()
        #: whether answers have a body without end
        self.is_endless = False
        #: while it is cleared, no request is answered
        self.answers = threading.Event()
        self.answers.set()
        self.spans: list[ReceivedSpan] = []
        #: values by the name of the metric and its labels
        self.metrics: dict[tuple[str, tuple[tuple[str, Any], ...]], float] = {}
        #: header fields of all requests, with names in lower case
        self.headers: list[Mapping[str, str]] = []
        self.url = ""

    def named(self, name: str) -> list[ReceivedSpan]:
        """Return the spans with a name, in the order of their beginning."""
        return sorted((one for one in self.spans if one.name == name), key=lambda one: one.started)

    def of_run(self, run: str) -> list[ReceivedSpan]:
        """Return the spans of a run, in the order of their beginning."""
        return sorted((one for one in self.spans if one.attributes.get("moongate.run.id") == run), key=_by_time)

    def take_request(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Take a request, and return the status of its answer."""
        self.headers.append(headers)
        self.answers.wait()
        status = self.script.popleft() if self.script else 200
        if status == 200:
            data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            if path == "/v1/traces":
                self.spans += _read_spans(ExportTraceServiceRequest.FromString(data))
            elif path == "/v1/metrics":
                self.metrics |= _read_metrics(ExportMetricsServiceRequest.FromString(data))
        return status


def _by_time(span: ReceivedSpan) -> tuple[int, int]:
    return span.started, -span.ended


@contextmanager
def receive_otlp() -> Iterator[OtlpReceiver]:
    """Receive on a free port of the loopback address while the block runs."""
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.take_request(self.path, headers, body)
            self.send_response(status)
            if receiver.is_endless:
                self.end_headers()
                with contextlib.suppress(OSError):  # until the other side closes the connection
                    while True:
                        self.wfile.write(b"x" * 65_536)
                self.close_connection = True
                return
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 the base class names it so

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serving.start()
        try:
            yield receiver
        finally:
            receiver.answers.set()
            server.shutdown()
            serving.join()


def _read_spans(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    return [
        ReceivedSpan(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            kind=span.kind,
            started=span.start_time_unix_nano,
            ended=span.end_time_unix_nano,
            attributes=_read_pairs(span.attributes),
            status=span.status.code,
            message=span.status.message,
            links={_read_pairs(link.attributes)["moongate.link"]: link.trace_id.hex() for link in span.links},
            events=tuple(event.name for event in span.events),
            resource=_read_pairs(group.resource.attributes),
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _read_metrics(request: ExportMetricsServiceRequest) -> dict[tuple[str, tuple[tuple[str, Any], ...]], float]:
    found = {}
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                points = [*metric.gauge.data_points, *metric.sum.data_points]
                for point in points:
                    value = point.as_double if point.HasField("as_double") else float(point.as_int)
                    found[metric.name, tuple(sorted(_read_pairs(point.attributes).items()))] = value
                for counted in metric.histogram.data_points:
                    labels = tuple(sorted(_read_pairs(counted.attributes).items()))
                    found[metric.name, labels] = float(counted.count)
    return found


def _read_pairs(pairs: Any) -> dict[str, Any]:
    return {pair.key: _read_value(pair.value) for pair in pairs}


def _read_value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_read_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
