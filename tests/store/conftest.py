"""Fixtures of the SQLite store."""

from tests.contracts.stores import clock

__all__ = ["clock"]
