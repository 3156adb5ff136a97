"""Finds the modules of a seam: one file each, by name, plus those that other packages register."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from gateway.errors import ConfigError

K = TypeVar("K")


class SeamModules(Mapping[str, Any]):
    """The values of one attribute of a package's public modules, by module name.

    A module is loaded at its first use: a gateway does not load backends that none of its agents uses.
    """

    def __init__(self, package: str, attribute: str, others: Mapping[str, Any]) -> None:
        """Args:
        others: more values by name; a module of the same name wins.
        """
        home = importlib.import_module(package)
        self._package, self._attribute, self._others = package, attribute, others
        self._own = {found.name for found in pkgutil.iter_modules(home.__path__) if not found.name.startswith("_")}
        self._names = sorted(self._own | set(others))

    def __getitem__(self, name: str) -> Any:
        """Return the value of one module.

        Raises:
            AttributeError: the module lacks the attribute that the seam needs.
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
    """Return the values of an attribute of every public module of a package, and the values in `others`."""
    return SeamModules(package, attribute, others)


def gather_mappings(package: str, attribute: str) -> dict[str, Any]:
    """Return the union of the mappings that modules of a package have as an attribute; not all modules have it."""
    home = importlib.import_module(package)
    names = sorted(found.name for found in pkgutil.iter_modules(home.__path__))
    modules = [importlib.import_module(f"{package}.{name}") for name in names]
    return {name: value for module in modules for name, value in getattr(module, attribute, {}).items()}


class BrokenPlugin(NamedTuple):
    """A plugin that cannot be used."""

    #: the distribution that registers it, with its version
    origin: str
    why: str


class RegisteredPlugins(NamedTuple, Generic[K]):
    """The plugins that other distributions register for a seam, by name."""

    usable: Mapping[str, K]
    #: the distributions of the usable plugins, with their versions
    origins: Mapping[str, str]
    broken: Mapping[str, BrokenPlugin]


def load_plugins(group: str, kind: type[K], taken: Collection[str]) -> RegisteredPlugins[K]:
    """Load the plugins that installed distributions register under an entry point group.

    A broken plugin is only reported: the gateway must start without it.

    Args:
        kind: the type that each plugin must have.
        taken: names that our own modules use.
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
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            loaded, why = None, f"{point.value} raises {type(error).__name__}: {error}"
        else:
            why = f"{point.value} is not a {kind.__name__}"
        if point.name in taken or point.name in usable:
            broken[point.name] = BrokenPlugin(origin, f"the name {point.name!r} is already used")
        elif isinstance(loaded, kind):
            usable[point.name], origins[point.name] = loaded, origin
        else:
            broken[point.name] = BrokenPlugin(origin, why)
    return RegisteredPlugins(usable, origins, broken)


def refuse_broken_plugin(where: str, name: str, broken: Mapping[str, BrokenPlugin]) -> None:
    """Raises:
    ConfigError: the name belongs to a plugin that cannot be used.
    """
    if name in broken:
        raise ConfigError(
            f'{where}: the plugin "{name}" of {broken[name].origin} cannot be used: {broken[name].why}.',
            remedy="Repair it or install another version.",
        )


def _may_be_registered(group: str) -> bool:
    """Return whether a distribution may have registered a plugin under a group.

    Searches the files that `importlib.metadata` reads (https://packaging.python.org/specifications/entry-points/),
    in a tenth of the time. If distributions may exist outside directories, the answer is yes.
    """
    if any(hasattr(finder, "find_distributions") for finder in sys.meta_path if finder is not PathFinder):
        return True
    mark = group.encode()
    for place in map(Path, sys.path):
        if place.is_file() or any(mark in file.read_bytes() for file in place.glob("*-info/entry_points.txt")):
            return True
    return False
