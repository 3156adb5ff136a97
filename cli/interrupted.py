"""Ctrl-C with words: what has become of what was under way."""

from __future__ import annotations

from gateway.errors import GatewayError


class Interrupted(GatewayError):
    """Interrupted."""

    exit_code = 130  # 128 and the number of SIGINT
