"""Agents that speak ACP as a backend; `backend` is the entry point of the package."""

from gateway.backends.acp.backend import BACKEND

__all__ = ["BACKEND"]
