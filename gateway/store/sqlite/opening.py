"""Opening the database file: never a wrong one, never an empty one in place of a lost one.

The file format of the header: https://www.sqlite.org/fileformat.html#the_database_header.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import apsw

from gateway.domain.search import separate_characters
from gateway.domain.times import Clock
from gateway.errors import ConfigError
from gateway.private_file import sync_names, sync_path
from gateway.store.moving.mark import MARK_TABLE, refuse_unfinished
from gateway.store.sql.migrations import Migration, read_package
from gateway.store.sqlite import copies

#: "MOON" in ASCII: the application id in the file's header
APPLICATION_ID = 0x4D4F4F4E

#: file systems on which SQLite's locks and shared memory are not reliable
NETWORK_FILE_SYSTEMS = re.compile(
    r"^(nfs\d?|cifs|smb\w*|afs|afpfs|9p|beegfs|ceph|glusterfs|lustre|webdav|davfs2?"
    r"|fuse\.(ceph|davfs2?|gcsfuse|glusterfs|juicefs|rclone|s3fs|sshfs))$"
)

#: kibibytes of pages that a reader keeps in memory. Each commit makes it read all of them again, so a larger cache is
#: only filled and emptied: in the memory of each thread, as much as it once held stays behind
READER_CACHE_KIBIBYTES = 512
#: what is mounted, one line each, on Linux: https://man7.org/linux/man-pages/man5/fstab.5.html
MOUNTS_FILE = Path("/proc/self/mounts")
#: a space, tab, line feed or backslash in a name there
_ESCAPED = re.compile(rb"\\([0-7]{3})")

_SQLITE_MAGIC = b"SQLite format 3\0"


def read_migrations() -> list[Migration]:
    """Return all migrations in order."""
    return read_package("gateway.store.sqlite.migrations")


def needs_migration(path: Path) -> bool:
    """Return whether opening an existing database would change its schema."""
    if not _is_present(path):
        return False
    _check_header(path)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return bool(connection.pragma("user_version") < len(read_migrations()))
    except apsw.Error:
        return False  # opening it for writing will raise and say what is wrong
    finally:
        connection.close()


def open_writer(path: Path, clock: Clock, *, may_be_unfinished: bool = False) -> apsw.Connection:
    """Open the database for writing; create or migrate it as needed.

    Args:
        may_be_unfinished: whether it may hold a copy of another store that is not finished.

    Raises:
        ConfigError: the file cannot be used; the message says why and what to do.
    """
    _refuse_network(path)
    if _is_present(path):
        _check_header(path)
    else:
        _create_database(path, clock)
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        with _closed_on_error(connection):
            _set_pragmas(connection)
            if not may_be_unfinished:
                _require_no_mark(connection, path)
            _apply_migrations(connection, path, clock)
    except apsw.ReadOnlyError as error:
        raise ConfigError(
            f"the database {path} cannot be written to: it is read-only.",
            remedy="Mount its directory writable, or set data.directory.",
        ) from error
    except (apsw.Error, UnicodeDecodeError) as error:  # the second: the schema is no longer text
        if is_disk_full(error):
            raise _name_full_disk(path) from error
        raise ConfigError(
            f"cannot open the database {path}: {error}.",
            remedy="Look at the disk. If the file is damaged, move it away with its -wal and restore a copy.",
        ) from error
    return connection


def is_disk_full(error: Exception) -> bool:
    """Return whether the system or SQLite has no room on the disk: for a database, its log, or their shared memory."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE


def _name_full_disk(path: Path) -> ConfigError:
    return ConfigError(
        f"the disk of {path.parent} is full: the database {path.name} cannot be opened, or not be migrated further.",
        remedy="Free some space, and try again: it goes on.",
    )


def open_existing(path: Path) -> apsw.Connection:
    """Open a read-only connection to a database that is not open yet.

    Raises:
        ConfigError: there is none, or what is there is not our database.
        apsw.Error: it cannot be read.
    """
    if not _is_present(path):
        raise ConfigError(f"there is no database {path}.")
    _check_header(path)
    return open_reader(path)


def open_finished(path: Path) -> apsw.Connection:
    """Open a read-only connection to a database that is to be copied.

    Raises:
        ConfigError: there is none, or it cannot be used.
    """
    if not _is_present(path):
        raise ConfigError(f"there is no database {path}.", remedy="Nothing to copy: set store.url, then: gateway start")
    try:
        connection = open_existing(path)
        with _closed_on_error(connection):
            _require_no_mark(connection, path)
            if connection.pragma("user_version") != len(read_migrations()):
                raise ConfigError(
                    f"the database {path} has the schema of another version of Moongate.",
                    remedy="Let this version open it first: gateway start, then gateway stop",
                )
    except (apsw.Error, UnicodeDecodeError) as error:
        if is_disk_full(error):
            raise _name_full_disk(path) from error
        raise ConfigError(f"cannot open the database {path}: {error}.", remedy="Restore a copy.") from error
    return connection


def is_unfinished(connection: apsw.Connection) -> bool:
    """Return whether a database holds a copy of another store that is not finished."""
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (MARK_TABLE,)).get
    return found is not None


def _require_no_mark(connection: apsw.Connection, path: Path) -> None:
    if is_unfinished(connection):
        raise refuse_unfinished(
            f"the database {path}",
            "Set store.url as it was and run again: gateway migrate --to sqlite. Or move the file away.",
        )


def open_reader(path: Path) -> apsw.Connection:
    """Open a read-only connection to a database that is already open for writing."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5000)
    with contextlib.suppress(apsw.Error):  # it reads the schema; if that is damaged, the first read says so
        connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIBIBYTES}")
    _keep_plans(connection)
    add_functions(connection)
    return connection


def _keep_plans(connection: apsw.Connection) -> None:
    """Plan each statement once, not again for each new value: this database has no statistics of values.

    Planning again took up to ten times as long as running most statements:
    https://www.sqlite.org/queryplanner-ng.html#qpsg.
    """
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def _set_pragmas(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(5000)
    _keep_plans(connection)
    add_functions(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = 1")  # macOS: a plain fsync does not reach the disk
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA journal_size_limit = 67108864")


def add_functions(connection: apsw.Connection) -> None:
    """Add the SQL functions that the schema and the migrations call."""

    def call(*values: object) -> str:
        return separate_characters(str(values[0]))

    def name_old_workspace(*values: object) -> str:
        return hashlib.sha256(str(values[0]).encode()).hexdigest()[:32]

    connection.create_scalar_function("old_workspace_name", name_old_workspace, 1, deterministic=True)
    connection.create_scalar_function("spaced", call, 1, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)


def _refuse_network(path: Path) -> None:
    kind = find_file_system(path.parent)
    if NETWORK_FILE_SYSTEMS.match(kind):
        raise ConfigError(
            f"the database cannot be on a network file system ({kind}): {path}.",
            remedy="Set data.directory to a local directory.",
        )


def find_file_system(directory: Path) -> str:
    """Return the file system type of a directory; empty if it is unknown."""
    with contextlib.suppress(OSError):
        mounts = _list_mounts()
        for place in (resolved := directory.resolve(), *resolved.parents):
            if str(place) in mounts:
                return mounts[str(place)]
    return ""


def _list_mounts() -> Mapping[str, str]:
    """Return the file system types by the directories that they are mounted on."""
    try:
        lines = MOUNTS_FILE.read_bytes().splitlines()
    except OSError:
        import psutil  # late: only here

        return {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    fields = [line.split(b" ") for line in lines]
    return {os.fsdecode(_ESCAPED.sub(_unescape, place)): os.fsdecode(kind) for _, place, kind, *_ in fields}


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])


def _is_present(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"cannot read the database {path}: {error.strerror}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"the database {path} is not a plain file.", remedy="Remove it, or set data.directory.")
    return True


def _check_header(path: Path) -> None:
    try:
        header = path.read_bytes()[:100] if path.stat().st_size < 100 else _read_first_bytes(path, 100)
    except OSError as error:
        raise ConfigError(f"cannot read the database {path}: {error.strerror}.") from error
    restore = "Move it away and restore a backup, or start with an empty database."
    if not header:
        raise ConfigError(f"the database {path} is empty (0 bytes): its content is lost.", remedy=restore)
    if len(header) < 100 or not header.startswith(_SQLITE_MAGIC):
        raise ConfigError(f"{path} is damaged, or is not an SQLite database.", remedy=restore)
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise ConfigError(f"the database {path} belongs to another program.", remedy="Set data.directory elsewhere.")


def _read_first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _create_database(path: Path, clock: Clock) -> None:
    """Create a database under another name and move it into place, so that nobody sees an incomplete one."""
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size > 0:
        raise ConfigError(
            f"the database {path} is missing, but its log {wal.name} is there.",
            remedy="Restore the database next to it, or move the log away to start with an empty database.",
        )
    draft = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in path.parent.glob(draft.name + "*"):
            leftover.unlink()
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(apsw.Connection(str(draft))) as connection:
            # An unfinished draft is thrown away: one sync at the end is enough, in place of several for each migration.
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            add_functions(connection)
            _apply_migrations(connection, draft, clock)
        sync_path(draft)
        draft.rename(path)
        sync_path(path.parent)
    except (OSError, apsw.Error) as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)  # it may be what fills the disk
        if is_disk_full(error):
            raise ConfigError(
                f"cannot create the database {path}: the disk is full.",
                remedy="Free some space, or set data.directory.",
            ) from error
        raise ConfigError(f"cannot create the database {path}: {error}.") from error


def _apply_migrations(connection: apsw.Connection, path: Path, clock: Clock) -> None:
    known = read_migrations()
    present = connection.pragma("user_version")
    if present > len(known):
        remedy = "Upgrade Moongate"
        if (copy := find_usable_copy(path)) is not None:
            remedy += (
                f", or move the database with its -wal away and copy {copy.name} to its place:"
                " what came after the upgrade is not in it"
            )
        raise ConfigError(
            f"the database {path} has schema {present}, newer than this Moongate's {len(known)}.",
            remedy=f"{remedy}.",
        )
    _check_history(connection, known[:present], path)
    if 0 < present < len(known):
        _copy_before_migration(connection, path, present)
    for migration in known[present:]:
        with write_transaction(connection):
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO migrations (number, checksum, at) VALUES (?, ?, ?)",
                (migration.number, migration.checksum, clock()),
            )
            connection.pragma("user_version", migration.number)


def find_usable_copy(path: Path) -> Path | None:
    """Return the newest copy of a database, made before a migration, that this version can open; None without one."""
    schema = copies.find_before_migration(path, len(read_migrations()))
    return None if schema is None else copies.before_migration(path, schema)


def _check_history(connection: apsw.Connection, applied: list[Migration], path: Path) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (number INTEGER PRIMARY KEY, checksum TEXT NOT NULL, at INTEGER NOT NULL)"
    )
    stored = dict(connection.execute("SELECT number, checksum FROM migrations"))
    for migration in applied:
        if stored.get(migration.number) != migration.checksum:
            raise ConfigError(
                f"the database {path} was made with another {migration.name}.",
                remedy="Use the Moongate that made it, or restore a copy.",
            )


def _copy_before_migration(connection: apsw.Connection, path: Path, present: int) -> None:
    target = copies.before_migration(path, present)
    draft = target.with_name(f"{target.name}.new")
    failed = f"the database {path} cannot be copied to {target.name}, and is not migrated"
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            copies.copy_pages(connection, draft)
            sync_path(draft)
            draft.replace(target)  # until here, an earlier copy stays
        except BaseException:
            draft.unlink(missing_ok=True)  # it may be what fills the disk
            raise
    except (apsw.FullError, OSError) as error:
        if is_disk_full(error):
            raise ConfigError(f"{failed}: the disk of {path.parent} is full.", remedy="Free some space.") from error
        raise ConfigError(f"{failed}: {error}.", remedy=f"Look at the disk of {path.parent}.") from error
    sync_names(target.parent)


@contextlib.contextmanager
def _closed_on_error(connection: apsw.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextlib.contextmanager
def write_transaction(connection: apsw.Connection) -> Iterator[None]:
    """Commit what is written inside, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
