"""Drills: the promises for failures, tested with real processes.

Each drill is a function that gets an empty directory. It raises `AssertionError` when a promise is broken,
and returns figures. The tests run the short forms, `scripts/drill --long` runs the long ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from harness.live_store import LiveStore

#: measurements of a drill, by name
Figures = Mapping[str, object]
Drill = Callable[[Path], Figures]


class StoreDrill(Protocol):
    """A drill of what holds on each kind of store: the gateways have the given one."""

    def __call__(self, directory: Path, *, store: LiveStore) -> Figures: ...


class Impossible(Exception):
    """This drill cannot run on this machine; the message says why."""


class ProgramMissing(Impossible):
    """This drill needs a program that is not installed. Where all tests must run, that is a failure."""
