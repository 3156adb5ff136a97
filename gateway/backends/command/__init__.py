"""Any program as a backend: `backend` runs it, `rules` reads the JSON lines that it writes."""

from gateway.backends.command.backend import BACKEND

__all__ = ["BACKEND"]
