"""OpenAI-compatible servers as a backend; `backend` is the entry point of the package."""

from gateway.backends.openai.backend import BACKEND

__all__ = ["BACKEND"]
