"""Hides secrets in texts that people see: log lines and error messages."""

from __future__ import annotations

#: a shorter secret is not hidden: it would be found in ordinary words, which would be mangled and give it away
MIN_HIDDEN_CHARACTERS = 4
#: what stands in place of a secret
HIDDEN = "***"


def can_hide_secret(secret: str) -> bool:
    """Return whether a secret is long enough to be hidden in a text."""
    return len(secret) >= MIN_HIDDEN_CHARACTERS


def hide_secret(text: str, secret: str) -> str:
    """Return a text with a secret replaced; a secret of a few letters stays."""
    return text.replace(secret, HIDDEN) if can_hide_secret(secret) else text
