"""The files of a directory in which somebody else may remove some at the same time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def list_files(directory: Path) -> list[Path]:
    """Return the files below a directory, in their order; what is removed meanwhile may be left out."""
    return sorted(Path(folder, name) for folder, _, names in os.walk(directory) for name in names)


def read_files(directory: Path) -> list[bytes]:
    """Return the contents of the files below a directory, in their order."""
    found = []
    for file in list_files(directory):
        with contextlib.suppress(FileNotFoundError):
            found.append(file.read_bytes())
    return sorted(found)
