"""Moongate, the always-on gateway for AI agents."""

import contextlib
import sys
from collections.abc import Iterator

#: the only place that says it: pyproject.toml reads it from this line
__version__ = "0.2.0"


@contextlib.contextmanager
def block_import(name: str) -> Iterator[None]:
    """Make imports of a module fail inside the `with` block, unless the module is loaded already.

    For libraries that import, if it is installed, what this program does not use.
    """
    missing = sys.modules.setdefault(name, None) is None  # type: ignore[arg-type]
    try:
        yield
    finally:
        if missing:
            del sys.modules[name]
