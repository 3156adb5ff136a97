"""Makes what traces runs, where the settings ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.config import Config
from gateway.engine.execution.owner import Owner

if TYPE_CHECKING:
    from gateway.tracing.opening import Tracing


def make_tracing(config: Config, environ: Mapping[str, str], owner: Owner | None = None) -> Tracing | None:
    """Return what traces runs; None where that is off.

    Raises:
        ConfigError: a package or a setting is missing.
    """
    if not config.tracing.enabled:
        return None
    from gateway.tracing.opening import Tracing  # late: few gateways trace

    return Tracing.from_settings(config, config.known_environment(environ), owner)
