"""Keeps out of the supervisor what a library imports and nobody uses. Import this module before all others.

A supervisor keeps all that it loads, for as long as the gateway lives.
"""

from __future__ import annotations

import gateway

# msgspec imports it, if installed, for names that `typing` has, too; with what it imports, it takes 1.5 MB.
with gateway.block_import("typing_extensions"):
    import msgspec  # noqa: F401
