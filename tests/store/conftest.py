"""Fixtures of the SQLite store."""

from tests.contracts.stores import clock, unhurried_pieces

__all__ = ["clock", "unhurried_pieces"]
