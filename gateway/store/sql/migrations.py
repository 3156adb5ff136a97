"""The files that make and change the schema of a database, each with a number: those of a release stay as they are."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple


class Migration(NamedTuple):
    """One file of SQL."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_package(package: str) -> list[Migration]:
    """Return all migrations of a package in order."""
    folder = resources.files(package)
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in found]
