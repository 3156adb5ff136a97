"""Finding the modules of a seam: one file each, by name, plus what other packages register."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Mapping
from importlib import metadata
from typing import Any, Generic, NamedTuple, TypeVar

K = TypeVar("K")


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


class Broken(NamedTuple):
    """A plugin that cannot be used."""

    #: the distribution that brings it, with its version
    origin: str
    why: str


class Registered(NamedTuple, Generic[K]):
    """What other distributions bring for a seam, by name."""

    usable: Mapping[str, K]
    #: the distributions that bring those, with their versions
    origins: Mapping[str, str]
    broken: Mapping[str, Broken]


def registered(group: str, kind: type[K], taken: Collection[str]) -> Registered[K]:
    """Load what installed distributions registered under an entry point group.

    A broken one is told of, and nothing else: a gateway must start without it.

    Args:
        kind: what each has to be.
        taken: names that are our own.
    """
    usable: dict[str, K] = {}
    origins: dict[str, str] = {}
    broken: dict[str, Broken] = {}
    for point in sorted(metadata.entry_points(group=group), key=lambda point: (point.name, point.value)):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:  # the border: what others wrote may raise anything
            loaded, why = None, f"{point.value} raises {type(error).__name__}: {error}"
        else:
            why = f"{point.value} is no {kind.__name__}"
        if point.name in taken or point.name in usable:
            broken[point.name] = Broken(origin, f"there is another one that is called {point.name!r}")
        elif isinstance(loaded, kind):
            usable[point.name], origins[point.name] = loaded, origin
        else:
            broken[point.name] = Broken(origin, why)
    return Registered(usable, origins, broken)
