"""ACP as a backend: `backend` is what the gateway meets, the rest is how it is done."""

from gateway.backends.acp.backend import BACKEND

__all__ = ["BACKEND"]
