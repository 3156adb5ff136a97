"""Fixtures of the contracts."""

from tests.contracts.backends import stage

__all__ = ["stage"]
