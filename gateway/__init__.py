"""Moongate, the always-on gateway for AI agents."""

__version__ = "0.1.0"
