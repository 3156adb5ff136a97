"""Opens what sends traces and metrics for one serving process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from gateway import __version__
from gateway.api.routing import ServerContext
from gateway.config import Config
from gateway.domain import trace
from gateway.domain.delivery import DeliveryAttempt
from gateway.domain.ports.backend import Turn
from gateway.domain.ports.store import Store
from gateway.engine.engine import Engine
from gateway.engine.execution.owner import Owner
from gateway.tracing.exporter import Exporter
from gateway.tracing.spans import TraceSettings
from gateway.tracing.target import Target, find_target, is_switched_off, require_packages
from gateway.tracing.tracer import Tracer


class Tracing:
    """The tracing of one serving process, before its engine is there."""

    def __init__(self, config: Config, target: Target, owner: Owner | None) -> None:
        self._config = config
        self._target = target
        self._tracer: Tracer | None = None
        self._exporter = Exporter(target, describe_process(config, target, owner))

    @classmethod
    def from_settings(cls, config: Config, environ: Mapping[str, str], owner: Owner | None) -> Tracing | None:
        """Return the tracing that the settings want; None if `OTEL_SDK_DISABLED` switches it off.

        Args:
            environ: the environment, with what `.env` adds.
            owner: this process; None to check the settings only.

        Raises:
            ConfigError: a package is missing, or a setting or a variable is wrong.
        """
        if is_switched_off(environ):
            return None
        require_packages()
        return cls(config, find_target(config, environ), owner)

    @property
    def secrets(self) -> Sequence[str]:
        """What no log may show."""
        return list(self._target.headers.values())

    def find_traceparent(self, turn: Turn) -> str:
        """Return the `traceparent` that tells an agent which trace a turn is part of."""
        part = trace.name_attempt(turn.attempt)
        return trace.find_context(turn.run, part, turn.traceparent, self._target.ratio).traceparent

    def note_attempt(self, delivery_id: str, tried: DeliveryAttempt) -> None:
        """Trace an attempt to send a delivery; see `DeliverySetup.on_attempt`."""
        if self._tracer is not None:
            self._tracer.note_attempt(delivery_id, tried)

    @asynccontextmanager
    async def open_tracer(self, engine: Engine, store: Store) -> AsyncIterator[Tracer]:
        """Send traces while the block runs, which must be longer than the engine works."""
        settings = TraceSettings(ratio=self._target.ratio, with_content=self._config.tracing.content)
        self._tracer = tracer = Tracer(store, engine.timelines, engine.agents, self._exporter, settings)
        tracer.start()
        try:
            yield tracer
        finally:
            await tracer.close()
            self._exporter.close()

    @asynccontextmanager
    async def open_metrics(self, server: ServerContext) -> AsyncIterator[ServerContext]:
        """Send metrics of the server while the block runs, unless the settings say that only traces are wanted."""
        if not self._config.tracing.metrics:
            yield server
            return
        from gateway.tracing.metrics_sender import MetricsSender  # late: imports the library of the metrics

        sender = MetricsSender(server, self._exporter, self._config.tracing.metrics_seconds)
        sender.start()
        try:
            yield server
        finally:
            await sender.stop()


def describe_process(config: Config, target: Target, owner: Owner | None) -> Mapping[str, str]:
    """Return what all spans and metrics say about this process."""
    return {
        "host.name": config.fleet_host,
        "moongate.role": config.fleet.role,
        **target.resource,
        "service.name": target.service_name,
        "service.version": __version__,
        "service.instance.id": str(owner or ""),
    }
