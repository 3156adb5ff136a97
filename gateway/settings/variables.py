"""How a setting names the environment variables that may set it."""

from __future__ import annotations


def env_names(*names: str) -> dict[str, tuple[str, ...]]:
    """Return the `extra` of a setting's `Meta`: its variables, ours first, then those of the systems replaced."""
    return {"env": names}
