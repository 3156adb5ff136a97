"""Finding the modules of a seam: one file each, by name, plus what other packages register."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

K = TypeVar("K")


class SeamModules(Mapping[str, Any]):
    """What the public modules of a package show by an attribute, by the module's name.

    A module is loaded when it is first asked for: a gateway starts without the backends that no agent of it has.
    """

    def __init__(self, package: str, attribute: str, others: Mapping[str, Any]) -> None:
        """Args:
        others: what goes with them; a name of a module is not taken from it.
        """
        home = importlib.import_module(package)
        self._package, self._attribute, self._others = package, attribute, others
        self._own = {found.name for found in pkgutil.iter_modules(home.__path__) if not found.name.startswith("_")}
        self._names = sorted(self._own | set(others))

    def __getitem__(self, name: str) -> Any:
        """Return what one shows.

        Raises:
            AttributeError: the module lacks the attribute that the seam asks for.
        """
        if name in self._own:
            return getattr(importlib.import_module(f"{self._package}.{name}"), self._attribute)
        return self._others[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def discover_modules(package: str, attribute: str, others: Mapping[str, Any] = MappingProxyType({})) -> SeamModules:
    """Return what every public module of a package shows, and what others bring."""
    return SeamModules(package, attribute, others)


def gather_mappings(package: str, attribute: str) -> dict[str, Any]:
    """Return what the modules of a package together say by an attribute, a mapping, that not all of them have."""
    home = importlib.import_module(package)
    names = sorted(found.name for found in pkgutil.iter_modules(home.__path__))
    modules = [importlib.import_module(f"{package}.{name}") for name in names]
    return {name: value for module in modules for name, value in getattr(module, attribute, {}).items()}


class BrokenPlugin(NamedTuple):
    """A plugin that cannot be used."""

    #: the distribution that brings it, with its version
    origin: str
    why: str


class RegisteredPlugins(NamedTuple, Generic[K]):
    """What other distributions bring for a seam, by name."""

    usable: Mapping[str, K]
    #: the distributions that bring those, with their versions
    origins: Mapping[str, str]
    broken: Mapping[str, BrokenPlugin]


def load_plugins(group: str, kind: type[K], taken: Collection[str]) -> RegisteredPlugins[K]:
    """Load what installed distributions registered under an entry point group.

    A broken one is told of, and nothing else: a gateway must start without it.

    Args:
        kind: what each has to be.
        taken: names that are our own.
    """
    usable: dict[str, K] = {}
    origins: dict[str, str] = {}
    broken: dict[str, BrokenPlugin] = {}
    if not _may_be_registered(group):
        return RegisteredPlugins(usable, origins, broken)
    from importlib import metadata  # late: most gateways have no plugin

    for point in sorted(metadata.entry_points(group=group), key=lambda point: (point.name, point.value)):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:  # the border: what others wrote may raise anything
            loaded, why = None, f"{point.value} raises {type(error).__name__}: {error}"
        else:
            why = f"{point.value} is no {kind.__name__}"
        if point.name in taken or point.name in usable:
            broken[point.name] = BrokenPlugin(origin, f"there is another one that is called {point.name!r}")
        elif isinstance(loaded, kind):
            usable[point.name], origins[point.name] = loaded, origin
        else:
            broken[point.name] = BrokenPlugin(origin, why)
    return RegisteredPlugins(usable, origins, broken)


def _may_be_registered(group: str) -> bool:
    """Tell whether any distribution may have registered something under a group.

    Looks into the files that `importlib.metadata` reads, by https://packaging.python.org/specifications/entry-points/,
    which takes a tenth of the time; where distributions may be in no directory, the answer is yes.
    """
    if any(hasattr(finder, "find_distributions") for finder in sys.meta_path if finder is not PathFinder):
        return True
    mark = group.encode()
    for place in map(Path, sys.path):
        if place.is_file() or any(mark in file.read_bytes() for file in place.glob("*-info/entry_points.txt")):
            return True
    return False
