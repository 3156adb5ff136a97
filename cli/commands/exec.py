"""`gateway exec`: have opencode do one task here and now, without a gateway."""

from __future__ import annotations

from gateway.runner.command import COMMAND

__all__ = ["COMMAND"]
