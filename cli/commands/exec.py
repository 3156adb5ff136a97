"""`gateway exec`: runs one task with opencode directly, without a gateway."""

from __future__ import annotations

from gateway.runner.command import COMMAND

__all__ = ["COMMAND"]
