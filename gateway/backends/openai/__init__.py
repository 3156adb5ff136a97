"""OpenAI-compatible servers as a backend: `backend` is what the gateway meets, the rest is how it is done."""

from gateway.backends.openai.backend import BACKEND

__all__ = ["BACKEND"]
