"""The variable that marks a service manager's unit as ours. A light module: `gateway status` reads it."""

from __future__ import annotations

from collections.abc import Mapping

#: environment variable that our units set
SERVICE_MARKER_VARIABLE = "MOONGATE_SERVICE_MARKER"
#: the same of xopc, whose units may go on running a gateway that has replaced it
_SEED_MARKER_VARIABLE = "XOPC_SERVICE_MARKER"


def read_marker(env: Mapping[str, str]) -> str | None:
    """Return which service manager started the process with this environment; None if none did."""
    return env.get(SERVICE_MARKER_VARIABLE) or env.get(_SEED_MARKER_VARIABLE) or None
