"""Sends spans and metrics over OTLP with OpenTelemetry's SDK, in a thread of its own.

The SDK is imported in that thread, when there is something to send for the first time: so it delays no start.
The thread is a daemon: a collector that does not answer keeps no process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gateway.tracing.spans import Span
from gateway.tracing.target import Target

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as MetricFamily

#: statuses with which a collector asks to try again, although they begin with 4
RETRIED_HTTP_STATUSES = frozenset({408, 429})
#: characters of a complaint of the SDK that are logged
MAX_COMPLAINT_CHARACTERS = 500


class ExportResult(Struct, frozen=True, kw_only=True):
    """How an export went."""

    is_sent: bool
    #: whether another try would fail, too
    is_refused: bool = False
    #: why it failed
    error: str = ""


class Exporter:
    """Sends to one collector. Calls wait for the answer; whoever cancels one leaves the request to its thread."""

    def __init__(self, target: Target, resource: Mapping[str, str]) -> None:
        """Args: resource: what is said about this gateway."""
        self._target = target
        self._resource = resource
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._sdk: _Sdk | None = None

    async def export_spans(self, spans: Sequence[Span]) -> ExportResult:
        """Send spans to the collector."""
        return await self._run_in_thread(lambda sdk: sdk.export_spans(spans))

    async def export_metrics(self, families: Iterable[MetricFamily], started: int, now: int) -> ExportResult:
        """Send the metrics of a registry to the collector; see `sdk_values.make_metrics`."""
        return await self._run_in_thread(lambda sdk: sdk.export_metrics(families, started, now))

    def close(self) -> None:
        """Let the thread end when its request has ended. Waits for nothing."""
        self._jobs.put(None)
        if self._sdk is not None:
            self._sdk.stop_retries()

    async def _run_in_thread(self, job: Callable[[_Sdk], ExportResult]) -> ExportResult:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ExportResult] = loop.create_future()

        def run_job() -> None:
            try:
                if self._sdk is None:
                    self._sdk = _Sdk(self._target, self._resource)
                result = job(self._sdk)
            except Exception as error:  # whatever the SDK raises: nothing may end the thread
                result = ExportResult(is_sent=False, is_refused=True, error=f"{type(error).__name__}: {error}")
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_set_result, future, result)

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="otlp", daemon=True)
            self._thread.start()
        self._jobs.put(run_job)
        return await future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _set_result(future: asyncio.Future[ExportResult], result: ExportResult) -> None:
    if not future.done():
        future.set_result(result)


class _Sdk:
    """OpenTelemetry's SDK, and what it complained of."""

    def __init__(self, target: Target, resource: Mapping[str, str]) -> None:
        import requests  # late, as all below: they take a third of a second
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        self._complaints = _Complaints()
        logger = logging.getLogger("opentelemetry")  # what it would print goes into the gateway's own log line
        logger.addHandler(self._complaints)
        logger.propagate = False
        #: whether a request was made, and the status of its answer
        self._is_asked, self._status = False, 0
        note_request = self._note_request

        class Session(requests.Session):
            def request(self, *args: Any, **kwargs: Any) -> requests.Response:
                note_request()
                # The body of an answer is not needed, and may have no end.
                answer = super().request(*args, **{**kwargs, "stream": True})
                answer.close()
                answer._content = b""
                return answer

        session = Session()
        session.hooks["response"].append(self._note_status)
        session.max_redirects = 0  # the headers may be secrets: they are for the collector alone
        session.auth = _leave_headers
        self._resource = Resource.create(dict(resource))
        common: dict[str, Any] = {
            "certificate_file": target.certificate,
            "client_certificate_file": target.client_certificate,
            "client_key_file": target.client_key,
            "headers": dict(target.headers),
            "timeout": target.timeout,
            "compression": Compression(target.compression),
            "session": session,
        }
        self._spans = OTLPSpanExporter(endpoint=target.traces_url, **common)
        self._metrics = OTLPMetricExporter(endpoint=target.metrics_url, **common)

    def export_spans(self, spans: Sequence[Span]) -> ExportResult:
        from opentelemetry.sdk.trace.export import SpanExportResult

        from gateway.tracing import sdk_values

        self._forget()
        result = self._spans.export(sdk_values.make_spans(spans, self._resource))
        return self._judge(result is SpanExportResult.SUCCESS)

    def export_metrics(self, families: Iterable[MetricFamily], started: int, now: int) -> ExportResult:
        from opentelemetry.sdk.metrics.export import MetricExportResult

        from gateway.tracing import sdk_values

        self._forget()
        result = self._metrics.export(sdk_values.make_metrics(families, self._resource, started, now))
        return self._judge(result is MetricExportResult.SUCCESS)

    def stop_retries(self) -> None:
        """End the pause of a request that is tried again."""
        self._spans.shutdown()  # type: ignore[no-untyped-call]
        self._metrics.shutdown()

    def _judge(self, is_sent: bool) -> ExportResult:
        refused = 400 <= self._status < 500 and self._status not in RETRIED_HTTP_STATUSES
        refused |= not self._is_asked  # it cannot be encoded, or is too large for the SDK
        return ExportResult(is_sent=is_sent, is_refused=not is_sent and refused, error=self._complaints.first)

    def _forget(self) -> None:
        self._is_asked, self._status, self._complaints.first = False, 0, ""

    def _note_request(self) -> None:
        self._is_asked = True

    def _note_status(self, response: Any, *_: Any, **__: Any) -> None:
        self._status = int(response.status_code)


def _leave_headers(request: Any) -> Any:
    """Take the place of what `~/.netrc` says for the host, which would replace the header of the settings."""
    return request


class _Complaints(logging.Handler):
    """Keeps the first warning of an export: it names the cause; later ones say that the SDK has given up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()[:MAX_COMPLAINT_CHARACTERS]
