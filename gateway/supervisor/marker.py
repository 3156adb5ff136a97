"""The mark by which a service manager's unit says that it is ours. Light: `gateway status` reads it."""

from __future__ import annotations

#: environment name under which it says so
MARKER = "MOONGATE_SERVICE_MARKER"
