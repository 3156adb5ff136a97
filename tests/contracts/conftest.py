"""Fixtures of the contracts."""

from tests.contracts.backends import stage
from tests.contracts.stores import clock, shelf, store, store_kind, unhurried_pieces

__all__ = ["clock", "shelf", "stage", "store", "store_kind", "unhurried_pieces"]
