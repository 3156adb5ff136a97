"""Any program as a backend: `backend` is what the gateway meets, `rules` reads JSON lines."""

from gateway.backends.command.backend import BACKEND

__all__ = ["BACKEND"]
