"""Drills: what is promised for bad days, tried out on real processes.

Each drill is a function of an empty directory. It raises `AssertionError` when a promise is broken,
and returns figures. The tests run the short forms, `scripts/drill --long` the long ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

#: what a drill has measured, by name
Figures = Mapping[str, object]
Drill = Callable[[Path], Figures]


class Impossible(Exception):
    """This drill cannot be held on this machine; the message says why."""
