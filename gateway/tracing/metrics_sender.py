"""Sends the metrics of `/metrics` to the collector again and again."""

from __future__ import annotations

from gateway import log
from gateway.api.metrics import collect_metrics
from gateway.api.routing import ServerContext
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.tracing.exporter import Exporter

_log = log.get()


class MetricsSender:
    """The service that sends metrics. A set that cannot be sent is not sent later: the next one tells as much."""

    def __init__(self, server: ServerContext, exporter: Exporter, seconds: float) -> None:
        self._server = server
        self._exporter = exporter
        self._seconds = seconds
        self._is_failing = False
        self._loop = ServiceLoop("metrics", self._send, log_errors("metrics.broke"), retry_seconds=seconds)

    def start(self) -> None:
        """Send the first set after the interval: a gateway that starts has enough to do."""
        self._loop.start(delay=self._seconds)

    async def stop(self) -> None:
        await self._loop.stop()

    async def _send(self) -> float:
        registry = await collect_metrics(self._server, self._server.engine)
        families = list(registry.collect())
        result = await self._exporter.export_metrics(families, self._server.started, self._server.clock())
        if result.is_sent == self._is_failing:
            self._is_failing = not result.is_sent
            if self._is_failing:
                _log.warning("metrics.cannot_send", error=result.error)
            else:
                _log.info("metrics.sends_again")
        return self._seconds
