"""The files of a turn in its workspace: attachments that go in, and what the agent leaves in its outbox.

Both lie in directories of the run: agents may share a workspace. In a workspace that the gateway has made for a
session, where one run works at a time, the outbox is simply `outbox`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.domain.file import File

#: names of the directories in a workspace
ATTACHMENTS, OUTBOX = "attachments", "outbox"
#: entries of an outbox that are looked at, and how deep its directories may be
MAX_OUTBOX_ENTRIES, MAX_OUTBOX_DEPTH = 1000, 8
#: how often another run may remove or fill the common directory of outboxes while it is made or removed
MAX_RACES = 100


def place_attachments(workspace: Path, run: str, files: Sequence[tuple[File, Path]]) -> list[str]:
    """Copy contents into a workspace; return the absolute paths of the copies. Equal names get a number.

    Args:
        files: each file, and where its content is.

    Raises:
        OSError: the disk refuses, or a content is gone.
    """
    place = _make_hidden_directory(workspace / ATTACHMENTS) / run.lower()
    place.mkdir(exist_ok=True, mode=0o700)
    _refuse_link(place)
    placed: list[str] = []
    taken: set[str] = set()
    for file, content in files:
        name = _choose_free_name(file.name, taken)
        taken.add(name.casefold())
        to = place / name
        half = place / f".{name}.part"
        half.unlink(missing_ok=True)
        with content.open("rb") as reading, half.open("xb") as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
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
    _refuse_link(place)
    if not place.is_dir():
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        _hide_content(place)
    return place


def _hide_content(place: Path) -> None:
    with contextlib.suppress(FileExistsError), (place / ".gitignore").open("x") as ignore:
        ignore.write("*\n")


def _refuse_link(place: Path) -> None:
    """Refuse to write through a link: an agent may have put it there, and what is behind it is not the workspace."""
    if place.is_symlink():
        raise OSError(errno.ELOOP, f"{place} is a link, and is not followed")


def _remove_hidden_directory(place: Path) -> None:
    """Remove a directory that `_make_hidden_directory` made, if nothing else is in it.

    Another run may put something into it meanwhile: then it stays, and its content hidden.
    """
    for _ in range(MAX_RACES):
        if os.listdir(place) != [".gitignore"]:
            return
        (place / ".gitignore").unlink(missing_ok=True)
        try:
            place.rmdir()
            return
        except OSError:
            _hide_content(place)


class FoundFile(NamedTuple):
    """A file in an outbox."""

    workspace: Path
    #: its path in the workspace, and in the outbox
    path: str
    name: str
    size: int


class OutboxDirectory:
    """The directory in which an agent leaves files for people."""

    def __init__(self, workspace: Path, run: str, *, is_shared: bool) -> None:
        """Args:
        is_shared: whether others work in the workspace, too: then the run has a directory of its own.
        """
        self._workspace = workspace
        self._name = f"{OUTBOX}/{run.lower()}" if is_shared else OUTBOX
        self.path = workspace / self._name
        self.is_shared = is_shared

    def prepare(self, *, keep: bool = False) -> None:
        """Create it, empty: what an interrupted attempt has left would be sent twice.

        Args:
            keep: whether to keep what is in it, because who has left it does not do that again.

        Raises:
            OSError: the disk refuses.
        """
        if os.path.lexists(self.path) and not (keep and self.path.is_dir() and not self.path.is_symlink()):
            _remove_entries(self.path)
        if not self.is_shared:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            return
        for _ in range(MAX_RACES):
            with contextlib.suppress(FileNotFoundError):
                _make_hidden_directory(self.path.parent)
                self.path.mkdir(exist_ok=True, mode=0o700)
                return
        raise FileNotFoundError(errno.ENOENT, f"{self.path.parent} is removed again and again")

    @property
    def is_prepared(self) -> bool:
        """Whether it is there, and empty, as most runs find it."""
        try:
            return stat.S_ISDIR(os.lstat(self.path).st_mode) and not self._has_entries()
        except OSError:
            return False

    @property
    def is_empty(self) -> bool:
        """Whether the agent has left nothing there."""
        try:
            return not self._has_entries()
        except OSError:
            return True

    def _has_entries(self) -> bool:
        with os.scandir(self.path) as scan:
            return next(scan, None) is not None

    def list_files(self) -> tuple[list[FoundFile], list[str]]:
        """Return the files in it, by name, and what is wrong with other entries. Links are not followed."""
        found: list[FoundFile] = []
        problems: list[str] = []
        with contextlib.closing(_walk(self._workspace, self._name)) as walk:
            for entries, (name, depth, about) in enumerate(walk, 1):
                if entries > MAX_OUTBOX_ENTRIES:
                    problems.append(f"it has more than {MAX_OUTBOX_ENTRIES} entries; the others are left out")
                    break
                if isinstance(about, OSError):
                    problems.append(f"{name!r} cannot be read: {about.strerror or about}")
                elif stat.S_ISREG(about.st_mode):
                    found.append(FoundFile(self._workspace, f"{self._name}/{name}", name, about.st_size))
                elif not stat.S_ISDIR(about.st_mode):
                    problems.append(f"{name!r} is not a file")
                elif depth >= MAX_OUTBOX_DEPTH:
                    problems.append(f"{name!r} is nested too deeply")
        return sorted(found, key=lambda file: file.name), problems

    def clear(self) -> None:
        """Remove what is in it, and the directory itself if it is the run's own."""
        with contextlib.suppress(OSError):
            _remove_entries(self.path)
            if self.is_shared:
                self.path.rmdir()
                _remove_hidden_directory(self.path.parent)


def remove_found(files: Sequence[FoundFile]) -> None:
    """Remove some files of an outbox. The others stay."""
    for file in files:
        with contextlib.suppress(OSError):
            _unlink_beneath(file.workspace, file.path)


def open_found(file: FoundFile) -> int:
    """Open a file of an outbox, and return its descriptor.

    Raises:
        OSError: it is no longer a plain file, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = _open_beneath(file.workspace, file.path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    return descriptor


def _walk(workspace: Path, top: str) -> Generator[tuple[str, int, os.stat_result | OSError], None, None]:
    """Yield what is below a directory of a workspace: the path in it, how deep it is, from 1, and what is there.

    Links are not followed. What cannot be read comes with its error; the directory itself is then called `.`.
    """
    waiting = [("", 1)]
    while waiting:
        prefix, depth = waiting.pop()
        try:
            with _scan_beneath(workspace, f"{top}/{prefix}".rstrip("/")) as scan:
                for entry in scan:
                    name = prefix + entry.name
                    try:
                        about = entry.stat(follow_symlinks=False)
                    except OSError as error:
                        yield name, depth, error
                        continue
                    yield name, depth, about
                    if depth < MAX_OUTBOX_DEPTH and stat.S_ISDIR(about.st_mode):
                        waiting.append((f"{name}/", depth + 1))
        except OSError as error:
            yield prefix or ".", depth, error


def _open_beneath(top: Path, path: str, flags: int) -> int:
    """Open what is at a path below a directory, and return its descriptor. No link in that path is followed.

    Windows cannot open a path step by step, and lets few users make links.
    """
    if os.open not in os.supports_dir_fd:
        return os.open(top / path, flags)
    *places, last = path.split("/")
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for place in places:
            inner = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        return os.open(last, flags | os.O_NOFOLLOW, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _unlink_beneath(top: Path, path: str) -> None:
    """Remove a file below a directory. No link in its path is followed."""
    if os.unlink not in os.supports_dir_fd:
        os.unlink(top / path)
        return
    place, _, name = path.rpartition("/")
    descriptor = _open_beneath(top, place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _scan_beneath(top: Path, path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """List a directory below another one. No link in its path is followed."""
    if os.scandir not in os.supports_fd:
        with os.scandir(top / path) as scan:
            yield scan
        return
    descriptor = _open_beneath(top, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(descriptor) as scan:
            yield scan
    finally:
        os.close(descriptor)


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
