"""One gateway per config: a kernel lock that is held until the process ends.

The file stays after a stop; only the lock counts. A lock never expires, and its file is never removed.
The file's content is information for people and for `gateway status`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

from gateway import paths, private_file
from gateway.errors import AlreadyRunning, ConfigError
from gateway.supervisor import record
from gateway.supervisor.record import Record

#: errors of a lock that another process holds; some file systems say EACCES
_LOCKED_ELSEWHERE = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}


class Lock:
    """The held lock: one gateway for each config. Child processes do not inherit it."""

    def __init__(self, path: Path, descriptor: int, guard: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self._guard = guard

    def write_record(self, mine: Record) -> None:
        """Write the holder's record into the file.

        Raises:
            ConfigError: the disk refuses, for instance because it is full.
        """
        data = mine.encode_line()
        try:
            before = os.fstat(self.descriptor).st_size
            os.lseek(self.descriptor, 0, os.SEEK_SET)
            # One write over the whole old content: another process may be reading it.
            os.write(self.descriptor, data.ljust(before))
            os.ftruncate(self.descriptor, len(data))
        except OSError as error:
            raise ConfigError(
                f"cannot write the lock file {self.path}: {error.strerror}.", remedy="Look at its disk: is it full?"
            ) from error

    def release(self) -> None:
        os.close(self.descriptor)
        if self._guard != self.descriptor:
            os.close(self._guard)


def acquire_lock(path: Path) -> Lock:
    """Take the lock of a config.

    Raises:
        AlreadyRunning: another gateway holds it.
        ConfigError: the file cannot be used: it is a link, or its directory cannot be written to.
    """
    held = try_lock(path)
    if held is None:
        raise refuse_second(record.read_record(path))
    return held


def refuse_second(holder: Record | None) -> AlreadyRunning:
    """Return the error of a start while another gateway runs with the same config."""
    who = f" (pid {holder.pid}, port {holder.port})" if holder is not None and holder.is_alive else ""
    return AlreadyRunning(f"a gateway is already running with this configuration{who}.", remedy="See: gateway status")


def try_lock(path: Path) -> Lock | None:
    """Take the lock on a file, creating the file if it is missing; return None if another process holds it.

    Raises:
        ConfigError: the file cannot be used: it is a link, or its directory cannot be written to.
    """
    descriptor = _open_lock_file(path)
    # On Windows the lock covers the first byte, and would keep others from reading the record.
    guard = descriptor if sys.platform != "win32" else _open_lock_file(path.with_name(path.name + ".guard"))
    if not _lock_descriptor(guard):
        os.close(descriptor)
        if guard != descriptor:
            os.close(guard)
        return None
    return Lock(path, descriptor, guard)


def lock_holder(path: Path) -> Record | None:
    """Return the record of a lock's holder; None if no process holds the lock, even if the file has a record."""
    found = record.read_record(path)
    return found if found is not None and found.is_alive and is_held(path) else None


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock: also one that has not written its record yet.

    If none does, this takes the lock for a moment.

    Raises:
        ConfigError: as `try_lock`.
    """
    free = try_lock(path)
    if free is not None:
        free.release()
    return free is None


def _lock_descriptor(descriptor: int) -> bool:
    """Lock an open file; return False if another process has locked it.

    Raises:
        OSError: the file system has no locks.
    """
    if sys.platform == "win32":
        from filelock import lock_descriptor  # here: it imports several megabytes, which a supervisor would keep

        return lock_descriptor(descriptor, blocking=False)
    import fcntl  # not every system has it

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKED_ELSEWHERE:
            return False
        raise
    return True


def _open_lock_file(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)  # if the path is a pipe, it must not block
    try:
        paths.make_private_directory(path.parent)
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise ConfigError(
            f"cannot open the lock file {path}: {error.strerror}.",
            remedy=private_file.REPAIR_HINT,
        ) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise ConfigError(f"the lock file {path} is not a plain file.", remedy="Remove it.")
    if found.st_size == 0:  # it may be new, and made by root for the owner of the directory
        with contextlib.suppress(OSError):
            private_file.give_to_owner(descriptor, path.parent)
    return descriptor
