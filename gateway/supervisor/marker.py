"""The variable that marks a service manager's unit as ours. A light module: `gateway status` reads it."""

from __future__ import annotations

#: name of the environment variable
SERVICE_MARKER_VARIABLE = "MOONGATE_SERVICE_MARKER"
