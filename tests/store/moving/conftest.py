"""Fixtures of copies from one store into another."""

from __future__ import annotations

from tests.contracts.stores import clock, unhurried_pieces

__all__ = ["clock", "unhurried_pieces"]
