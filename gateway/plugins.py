"""Finding the modules of a seam: one file each, by name, plus what other packages register."""

from __future__ import annotations

import importlib
import pkgutil
from importlib import metadata
from typing import Any


def discover(package: str, attribute: str) -> dict[str, Any]:
    """Return `{module name: its attribute}` for every public module of a package.

    Raises:
        AttributeError: a module lacks the attribute that the seam asks for.
    """
    home = importlib.import_module(package)
    names = sorted(found.name for found in pkgutil.iter_modules(home.__path__) if not found.name.startswith("_"))
    return {name: getattr(importlib.import_module(f"{package}.{name}"), attribute) for name in names}


def gathered(package: str, attribute: str) -> dict[str, Any]:
    """Return what the modules of a package together say by an attribute, a mapping, that not all of them have."""
    home = importlib.import_module(package)
    names = sorted(found.name for found in pkgutil.iter_modules(home.__path__))
    modules = [importlib.import_module(f"{package}.{name}") for name in names]
    return {name: value for module in modules for name, value in getattr(module, attribute, {}).items()}


def registered(group: str) -> dict[str, Any]:
    """Return what installed distributions registered under an entry point group, by name."""
    return {point.name: point.load() for point in metadata.entry_points(group=group)}
