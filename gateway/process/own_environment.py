"""Keeps a running process on the version that it started with, after an update has put another one in its place.

A process imports some modules late, and starts programs of its own version. `gateway update` exchanges the
environment, a virtual environment, under processes that still run. Before that, it makes a copy of the old one
next to it, which shares its files. From then on, a process that was started from the old one finds its modules,
files and interpreter in the copy. A process asks for the copy at each late import; until there is one, that costs
one look at the file system, and the start of a process none.

Standard library only: a supervisor has it, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

#: added to the name of an environment, for its copy from before the last update
COPY_SUFFIX = ".before-update"
#: file in the copy: the identity of the environment that it was made from
COPY_MARK = "moongate-copy-of"
#: directory in the copy: the packages of a clone, which are not in its environment
COPY_SOURCE = "moongate-source"
#: bytes of the mark that are read
_MAX_MARK_BYTES = 200


#: files with which pipx and uv mark an environment of theirs; each directory next to it would be one, too
_OWNED_MARKS = ("pipx_metadata.json", "uv-receipt.toml")


def place_near(environment: Path, suffix: str) -> Path:
    """Return a place for another environment, on the same disk: next to this one, or one level up from pipx and uv."""
    if environment.is_symlink():  # the directory is exchanged, and the link goes on leading to its place
        environment = environment.resolve()
    is_owned = any((environment / mark).exists() for mark in _OWNED_MARKS)
    return (environment.parent.parent if is_owned else environment.parent) / (environment.name + suffix)


def identify_directory(path: Path) -> str:
    """Return the identity of an environment, which it keeps when it is renamed.

    The number of a directory that was removed may be that of a later one, so the time of a file in it counts, too.

    Raises:
        OSError: there is none.
    """
    found = path.stat()
    try:
        made = (path / "pyvenv.cfg").stat().st_mtime_ns
    except OSError:
        made = 0
    return f"{found.st_dev}:{found.st_ino}:{made}"


def is_same_directory(one: str, other: str) -> bool:
    """Return whether two identities are of one directory; the number of its disk may change when a machine starts."""
    return one.split(":")[1] == other.split(":")[1]


class OwnEnvironment:
    """The environment that this process started from."""

    def __init__(self, prefix: Path, source: Path, executable: str) -> None:
        """Args:
        prefix: the environment.
        source: the directory of our packages; in a clone, it is not in the environment.
        executable: the interpreter.
        """
        self._prefix, self._source = f"{prefix}{os.sep}", f"{source}{os.sep}"
        self._executable = executable
        self._copy = place_near(prefix, COPY_SUFFIX)
        self._mark = str(self._copy / COPY_MARK)
        self._identity = identify_directory(prefix).encode()

    def find_path(self, path: str) -> str:
        """Return where a file or directory of this version is now."""
        return self._in_copy(path) if self.has_copy else path

    def find_executable(self) -> str:
        """Return the interpreter that starts programs of this version."""
        return self.find_path(self._executable)

    @property
    def has_copy(self) -> bool:
        """Whether there is a copy of the environment that this process started from."""
        try:
            descriptor = os.open(self._mark, os.O_RDONLY)
        except OSError:
            return False
        try:
            return os.read(descriptor, _MAX_MARK_BYTES) == self._identity
        finally:
            os.close(descriptor)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module in the copy: this object is a finder of `sys.meta_path`. Without a copy, leave it to others."""
        if not self.has_copy:
            return None
        places = [self._in_copy(one) for one in (sys.path if path is None else path)]
        return PathFinder.find_spec(name, places, target)

    def _in_copy(self, path: str) -> str:
        if (path + os.sep).startswith(self._prefix):
            return os.path.join(self._copy, path[len(self._prefix) :])
        if (path + os.sep).startswith(self._source):
            return os.path.join(self._copy, COPY_SOURCE, path[len(self._source) :])
        return path


_kept: OwnEnvironment | None = None


def keep_own_environment() -> None:
    """From now on, find what this process imports and starts in the environment that it started from.

    Call it when a process has started. It does nothing outside a virtual environment, which no update exchanges.
    """
    global _kept
    if _kept is not None or sys.prefix == sys.base_prefix or sys.platform == "win32":
        return
    try:
        _kept = OwnEnvironment(Path(sys.prefix), Path(__file__).parent.parent.parent, sys.executable)
    except OSError:  # it was removed
        return
    sys.meta_path.insert(0, _kept)


def find_own_executable() -> str:
    """Return the interpreter that starts programs of the version of this process."""
    return sys.executable if _kept is None else _kept.find_executable()


def find_own_path(path: Path) -> Path:
    """Return where a file or directory of the version of this process is now."""
    return path if _kept is None else Path(_kept.find_path(str(path)))
