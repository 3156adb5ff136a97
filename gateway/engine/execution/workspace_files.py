"""The files of a turn in its workspace: attachments that go in, and what the agent leaves in its outbox.

Both lie in directories of the run: agents may share a workspace. In a workspace that the gateway has made for a
session, where one run works at a time, the outbox is simply `outbox`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.domain.file import File

#: names of the directories in a workspace
ATTACHMENTS, OUTBOX = "attachments", "outbox"
#: entries of an outbox that are looked at, and how deep its directories may be
MAX_OUTBOX_ENTRIES, MAX_OUTBOX_DEPTH = 1000, 8


def place_attachments(workspace: Path, run: str, files: Sequence[tuple[File, Path]]) -> list[str]:
    """Copy contents into a workspace; return the absolute paths of the copies. Equal names get a number.

    Args:
        files: each file, and where its content is.

    Raises:
        OSError: the disk refuses, or a content is gone.
    """
    place = _make_hidden_directory(workspace / ATTACHMENTS) / run.lower()
    place.mkdir(exist_ok=True, mode=0o700)
    placed: list[str] = []
    taken: set[str] = set()
    for file, content in files:
        name = _choose_free_name(file.name, taken)
        taken.add(name.casefold())
        to = place / name
        half = place / f".{name}.part"
        shutil.copyfile(content, half)
        os.replace(half, to)
        placed.append(str(to))
    return placed


def _choose_free_name(name: str, taken: set[str]) -> str:
    stem, ending = os.path.splitext(name)
    number = 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}{ending}"
    return name


def _make_hidden_directory(place: Path) -> Path:
    """Create a directory whose content version control does not see, and return its path."""
    if not place.is_dir():
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError), (place / ".gitignore").open("x") as ignore:
            ignore.write("*\n")
    return place


def _remove_hidden_directory(place: Path) -> None:
    """Remove a directory that `_make_hidden_directory` made, if nothing else is in it."""
    if [entry.name for entry in os.scandir(place)] == [".gitignore"]:
        (place / ".gitignore").unlink()
        place.rmdir()


class FoundFile(NamedTuple):
    """A file in an outbox."""

    path: Path
    #: its path in the outbox
    name: str
    size: int


class OutboxDirectory:
    """The directory in which an agent leaves files for people."""

    def __init__(self, workspace: Path, run: str, *, is_shared: bool) -> None:
        """Args:
        is_shared: whether others work in the workspace, too: then the run has a directory of its own.
        """
        top = workspace / OUTBOX
        self.path = top / run.lower() if is_shared else top
        self._is_shared = is_shared

    def prepare(self) -> None:
        """Create it, empty: what an interrupted attempt has left would be sent twice.

        Raises:
            OSError: the disk refuses.
        """
        if os.path.lexists(self.path):
            _remove_entries(self.path)
        if self._is_shared:
            _make_hidden_directory(self.path.parent)
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def is_empty(self) -> bool:
        """Whether the agent has left nothing there."""
        try:
            with os.scandir(self.path) as scan:
                return next(scan, None) is None
        except OSError:
            return True

    @property
    def needs_clearing(self) -> bool:
        """Whether something of it is to be removed."""
        return self._is_shared or not self.is_empty

    def list_files(self) -> tuple[list[FoundFile], list[str]]:
        """Return the files in it, by name, and what is wrong with other entries. Links are not followed."""
        found: list[FoundFile] = []
        problems: list[str] = []
        for entries, (entry, name, depth) in enumerate(_walk(self.path), 1):
            if entries > MAX_OUTBOX_ENTRIES:
                problems.append(f"it has more than {MAX_OUTBOX_ENTRIES} entries; the others are left out")
                break
            about = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(about.st_mode):
                found.append(FoundFile(Path(entry.path), name, about.st_size))
            elif not stat.S_ISDIR(about.st_mode):
                problems.append(f"{name} is not a file")
            elif depth >= MAX_OUTBOX_DEPTH:
                problems.append(f"{name} is nested too deeply")
        return sorted(found, key=lambda file: file.name), problems

    def clear(self) -> None:
        """Remove what is in it, and the directory itself if it is the run's own."""
        with contextlib.suppress(OSError):
            _remove_entries(self.path)
            if self._is_shared:
                self.path.rmdir()
                _remove_hidden_directory(self.path.parent)


def open_found(file: FoundFile) -> int:
    """Open a file of an outbox, and return its descriptor.

    Raises:
        OSError: it is no longer a plain file, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(file.path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{file.name} is not a file")
    return descriptor


def _walk(directory: Path) -> Iterator[tuple[os.DirEntry[str], str, int]]:
    """Yield the entries below a directory, their paths in it, and how deep they are, from 1. Links are not followed."""
    waiting = [(str(directory), "", 1)]
    while waiting:
        place, prefix, depth = waiting.pop()
        try:
            scan = os.scandir(place)
        except OSError:
            continue
        with scan:
            for entry in scan:
                yield entry, prefix + entry.name, depth
                if depth < MAX_OUTBOX_DEPTH and entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{prefix}{entry.name}/", depth + 1))


def _remove_entries(place: Path) -> None:
    """Remove what is in a directory; if it is a link or a file instead, remove that."""
    if place.is_symlink() or not place.is_dir():
        place.unlink(missing_ok=True)
        return
    for entry in os.scandir(place):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
