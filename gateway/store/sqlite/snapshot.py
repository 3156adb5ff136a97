"""Copies the database as it is at one moment into a file, while a gateway works with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw

from gateway.errors import ConfigError, StorageFull, Unavailable
from gateway.store.sqlite import copies, opening

#: how each database of SQLite begins
_MAGIC = b"SQLite format 3\0"


def copy_database(source: Path, target: Path, on_step: Callable[[], None] = lambda: None) -> int:
    """Copy a database; return the number of its schema. Work with it goes on, and what comes later is not in the copy.

    Args:
        target: a file that does not exist yet, or is empty.
        on_step: called again and again; it may raise to end the copy.

    Raises:
        ConfigError: there is no database, or it is damaged.
        StorageFull: the disk is full.
        Unavailable: the disk refuses.
    """
    try:
        with contextlib.closing(opening.open_existing(source)) as connection:
            schema = int(connection.pragma("user_version"))
            copies.copy_database(connection, target, on_step)
            return schema
    except apsw.FullError as error:
        raise StorageFull(
            f"the disk of {target.parent} is full: the database cannot be copied to it.", remedy="Free some space."
        ) from error
    except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the database {source} is damaged: {error}.", remedy="Restore an earlier backup, or see: gateway doctor"
        ) from error
    except apsw.Error as error:
        if opening.is_disk_full(error):  # a reader, too, needs the memory that all share
            raise StorageFull(
                f"the disk of {source.parent} is full: the database there cannot be read.", remedy="Free some space."
            ) from error
        raise Unavailable(f"cannot copy the database {source}: {error}.", remedy="Look at the disk.") from error


def measure_database(source: Path) -> int:
    """Return how many bytes a copy of a database has; 0 if that cannot be told."""
    try:
        with contextlib.closing(opening.open_existing(source)) as connection:
            told = [int(connection.pragma(name)) for name in ("page_count", "freelist_count", "page_size")]
    except (apsw.Error, ConfigError, UnicodeDecodeError):
        return 0
    return (told[0] - told[1]) * told[2]


def list_contents(copied: Path) -> Iterator[str]:
    """Yield the hashes of the contents of files to which a copy of a database refers; none before there were files."""
    with contextlib.suppress(apsw.Error), contextlib.closing(opening.open_existing(copied)) as connection:
        for (sha256,) in connection.execute("SELECT sha256 FROM contents"):
            yield str(sha256)


def find_content(path: Path, sha256: str) -> bool:
    """Return whether a database refers to a content now; also if that cannot be told."""
    try:
        with contextlib.closing(opening.open_existing(path)) as connection:
            return connection.execute("SELECT 1 FROM contents WHERE sha256 = ?", (sha256,)).get is not None
    except (apsw.Error, ConfigError, UnicodeDecodeError):
        return True


@contextlib.contextmanager
def watch_changes(path: Path) -> Iterator[Callable[[], bool]]:
    """Watch a database: what is returned says whether somebody has changed it since.

    https://sqlite.org/pragma.html#pragma_data_version
    """
    try:
        connection = opening.open_existing(path)
    except (apsw.Error, ConfigError, UnicodeDecodeError):
        yield lambda: False  # who copies it says why it cannot be read
        return
    with contextlib.closing(connection):
        before = _read_version(connection)
        yield lambda: _read_version(connection) != before


def _read_version(connection: apsw.Connection) -> int | None:
    try:
        return int(connection.pragma("data_version"))
    except apsw.Error:
        return None


def is_database(path: Path) -> bool:
    """Return whether a file is a database of SQLite, of whatever program."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def copy_foreign_database(source: Path, target: Path) -> None:
    """Copy the database of another program, which may be using it.

    Raises:
        Unavailable: it cannot be read.
        StorageFull: the disk is full.
    """
    try:
        with contextlib.closing(apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            connection.set_busy_timeout(5000)
            copies.copy_database(connection, target)
    except apsw.FullError as error:
        raise StorageFull(f"the disk of {target.parent} is full.", remedy="Free some space.") from error
    except (apsw.Error, UnicodeDecodeError) as error:
        raise Unavailable(f"the database cannot be copied: {error}.") from error


def check_integrity(path: Path, *, thoroughly: bool = False) -> str | None:
    """Return what is wrong with a database that nobody has open; None if nothing is.

    Args:
        thoroughly: whether its indexes are compared with its tables, too.
    """
    try:
        with contextlib.closing(opening.open_existing(path)) as connection:
            found = connection.execute(f"PRAGMA {'integrity' if thoroughly else 'quick'}_check(1)").get
    except ConfigError as error:
        return error.message
    except (apsw.Error, UnicodeDecodeError) as error:
        return str(error)
    return None if found == "ok" else str(found)
