"""The log file: private, rotated by size and count, never truncated by a restart."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway import paths, private_file

#: bytes of one file, and number of rotated files
MAX_LOG_FILE_BYTES = 10 * 1024 * 1024
ROTATED_LOG_FILES = 5
#: levels of the events that mean that something failed
_LEVELS = {
    "generation.crashed": "error",
    "generation.failed": "error",
    "generation.hangs": "error",
    "generation.killed": "warning",
    "restart.failed": "error",
    "restart.ignored": "warning",
}
_LEVEL_FIELD = re.compile(rb'"level": ?"(debug|info|warning|error)"')


class LogFile:
    """Appends lines. Call from one thread."""

    def __init__(self, path: Path, size: int = MAX_LOG_FILE_BYTES, count: int = ROTATED_LOG_FILES) -> None:
        self._path = path
        self._size = size
        self._count = count
        self._descriptor: int | None = None
        self._open_file()

    def write_line(self, line: bytes) -> None:
        """Append a line and a line feed.

        Raises:
            OSError: the line cannot be written; the file stays usable.
        """
        if self._descriptor is None:  # an earlier rotation failed half way
            self._open_file()
        elif not self._is_in_place():
            with contextlib.suppress(OSError):  # the open file takes the line
                self._open_file()
        if self._written + len(line) > self._size and self._written:
            self._rotate_files()
        assert self._descriptor is not None
        data = line + b"\n"
        while data:
            count = os.write(self._descriptor, data)
            data = data[count:]
            self._written += count

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None  # another file, perhaps the database, may get its number

    def _is_in_place(self) -> bool:
        """Return whether the open file still has its name: a log rotation or a person may have moved or removed it."""
        assert self._descriptor is not None
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return False
        except OSError:  # nobody can say; the open file takes the line
            return True
        self._written = found.st_size  # it may have been emptied, too
        return os.path.samestat(found, os.fstat(self._descriptor))

    def _open_file(self) -> None:
        """Open the file, and create it if it is missing; a file that was open before stays open until then."""
        paths.make_private_directory(self._path.parent)
        opened = private_file.open_output_file(self._path, append=True)
        self.close()
        self._descriptor, self._written = opened, os.fstat(opened).st_size

    def _rotate_files(self) -> None:
        self.close()
        for number in range(self._count - 1, 0, -1):
            older = self._rotated_path(number)
            if older.exists():
                older.replace(self._rotated_path(number + 1))
        self._path.replace(self._rotated_path(1))
        self._open_file()

    def _rotated_path(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def encode_event(event: str, about: Mapping[str, Any]) -> bytes:
    """Return the log line of an event that happens now."""
    now = time.time_ns()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now // 10**6 % 1000:03d}Z"
    return json.dumps({"time": stamp, "level": _choose_level(event, about), "event": event, **about}).encode()


def _choose_level(event: str, about: Mapping[str, Any]) -> str:
    """Return the level of an event: above `info` if something failed, also the end of a process with an error."""
    return _LEVELS.get(event) or ("warning" if about.get("code") else "info")


class RepeatFilter:
    """Counts a repeated line instead of writing it again.

    Lines are equal if only their times differ.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._last = b""
        self._repeated = 0

    def write_line(self, line: bytes) -> None:
        said = line.partition(b",")[2] if line.startswith(b'{"time"') else line
        if said and said == self._last:
            self._repeated += 1
            return
        self.flush_repeats()
        self._last = said
        self._write(line)

    def flush_repeats(self) -> None:
        """Write how often the last line was repeated."""
        if self._repeated:
            repeated, self._repeated = self._repeated, 0
            self._write(
                b'{"level": "%s", "event": "log.repeated", "times": %d, "line": %s}'
                % (_read_level(self._last), repeated, _quote_line(self._last))
            )


def _read_level(said: bytes) -> bytes:
    """Return the level of a line; `info` if it names none."""
    found = _LEVEL_FIELD.search(said)
    return found[1] if found else b"info"


def _quote_line(said: bytes) -> bytes:
    return json.dumps(said.decode("utf-8", "replace")[:200]).encode()
