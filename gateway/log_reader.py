"""Reads the log file: its last lines and its new lines, across rotation."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

LEVEL_NAMES = ("debug", "info", "warning", "error")

#: number of checks for a file that may be renamed at that moment
MAX_ROTATION_CHECKS = 3
#: bytes of one read, from the end backwards
READ_BLOCK_BYTES = 64 * 1024


def has_level(line: bytes, level: str) -> bool:
    """Return whether a JSON log line has at least a level; a line that is not JSON counts as an error."""
    try:
        found = json.loads(line).get("level", "info")
    except (ValueError, AttributeError, RecursionError):
        return True
    return found not in LEVEL_NAMES or LEVEL_NAMES.index(found) >= LEVEL_NAMES.index(level)


def format_line(line: bytes) -> str:
    """Return a log line for people: time, level, event, then the other fields; control characters are escaped."""
    try:
        record = json.loads(line)
        stamp, level, event = (str(record.pop(name, "")) for name in ("time", "level", "event"))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return line.decode("utf-8", "replace")
    trace = record.pop("exception", None)
    rest = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in record.items())
    return f"{stamp[11:19]} {level:<7} {event} {rest}".rstrip() + (f"\n{trace}" if trace else "")


def read_last_lines(
    file: Path, count: int, level: str = "debug", wanted: Callable[[bytes], bool] = bool
) -> list[bytes]:
    """Return the last lines of at least a level, oldest first; read rotated files if necessary.

    Args:
        wanted: tells of a line whether it is wanted, too.
    """
    found: list[bytes] = []
    for path in _existing_files(file):
        if len(found) >= count:
            break
        for line in _read_backwards(path):
            if has_level(line, level) and wanted(line):
                found.append(line)
                if len(found) >= count:
                    break
    return found[::-1]


def _existing_files(file: Path) -> Iterator[Path]:
    """Yield the files that exist, the newest first; between two steps of a rotation, the newest one is missing.

    Something else in the place of a file is passed over: a pipe would block whoever opens it.
    """
    if file.is_file():
        yield file
    number = 1
    while (path := file.with_name(f"{file.name}.{number}")).is_file():
        yield path
        number += 1


def _read_backwards(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position > 0:
            size = min(READ_BLOCK_BYTES, position)
            position -= size
            file.seek(position)
            first, *lines = (file.read(size) + rest).split(b"\n")
            yield from (line for line in reversed(lines) if line)
            rest = first
        if rest:
            yield rest


class LogFollower:
    """Reads lines that are added to a log file after the follower was created, across rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        if path.is_file():
            self._file = path.open("rb")
            self._file.seek(0, os.SEEK_END)

    def read_new_lines(self) -> list[bytes]:
        """Return the whole lines that came since the last call."""
        lines = self._read_lines()
        while (newer := self._open_newer()) is not None:
            lines += self._read_lines()  # lines that came between the last read and the rotation
            self.close()
            self._file = newer
            lines += self._read_lines()
        return lines

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _read_lines(self) -> list[bytes]:
        if self._file is None:
            return []
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [line for line in lines if line]

    def _open_newer(self) -> IO[bytes] | None:
        """Open the log file that follows the current one; return None if the current one is the newest.

        After several rotations this is the next file, not the newest. If the current file is gone, it is the oldest
        that exists.
        """
        for _ in range(MAX_ROTATION_CHECKS):
            newer, found = self._find_next_file()
            if found or self._file is None:
                return newer
            if newer is not None:
                newer.close()
        return self._find_next_file()[0]

    def _find_next_file(self) -> tuple[IO[bytes] | None, bool]:
        """Return the file after the present one, or else the oldest; and whether the present one was found.

        A file is not found while it is renamed.
        """
        newer: IO[bytes] | None = None
        for path in _existing_files(self._path):
            with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as undo:
                found = undo.enter_context(path.open("rb"))
                if self._file is not None and os.path.sameopenfile(found.fileno(), self._file.fileno()):
                    return newer, True
                if newer is not None:
                    newer.close()
                newer = found
                undo.pop_all()
        return newer, False
