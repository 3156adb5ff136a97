"""What an update did to the database, and whether the version from before can have its own back.

Before a migration, the gateway copies the database. An older version refuses a newer schema, so the way back needs
that copy, and what came since then is not in it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import apsw

from gateway.errors import ConfigError
from gateway.private_file import sync_path
from gateway.store.sqlite import copies

#: milliseconds to wait for another program that uses the database
CLOSE_TIMEOUT_MS = 5000
#: count what is in `main` and not in `before`: tasks, tasks that went on, and other changes of tokens
_ACCEPTED = "SELECT count(*) FROM runs WHERE seq > (SELECT coalesce(max(seq), 0) FROM before.runs)"
_CONTINUED = """
SELECT count(*) FROM runs AS now JOIN before.runs AS old USING (id)
  WHERE now.epoch > old.epoch
    OR (now.status IN ('succeeded', 'failed', 'cancelled') AND now.status != old.status)
"""
#: a token that has expired is removed by itself, and is worth nothing
_TOKENS = """
SELECT
  (SELECT count(*) FROM tokens AS now LEFT JOIN before.tokens AS old USING (name)
    WHERE old.name IS NULL OR (now.hash, now.scope) != (old.hash, old.scope) OR now.expires IS NOT old.expires)
  + (SELECT count(*) FROM before.tokens WHERE name NOT IN (SELECT name FROM main.tokens)
    AND (expires IS NULL OR expires > CAST(strftime('%s', 'now') AS INTEGER) * 1000))
"""
#: by table: which rows count, and which of them `before` does not have
_NEW_ROWS = {
    "changes": ("topic != 'run'", "seq > (SELECT coalesce(max(seq), 0) FROM before.changes)"),
    # what a stranger was refused, and what the gateway did by itself, is no work of anybody
    "audit": ("who_kind NOT IN ('stranger', 'system')", "seq > (SELECT coalesce(max(seq), 0) FROM before.audit)"),
    "files": ("TRUE", "id NOT IN (SELECT id FROM before.files)"),
    # they would be sent a second time
    "alert_messages": (
        "status = 'delivered'",
        "id NOT IN (SELECT id FROM before.alert_messages WHERE status = 'delivered')",
    ),
}
#: tables that need no comparison: each generation writes these
_OF_GENERATIONS = {"migrations", "processes", "pulse", "samples", "generations", "alert_feed", "token_uses"}
#: tables that need none, because what is new in them comes with what `find_new_work` counts, and that are large
_OF_WORK = {"runs", "labels", "events", "changes", "transcript", "numbered_transcript", "contents", "audit"}

#: counts the tasks that only `main` has
_UNKNOWN_RUNS = "SELECT count(*) FROM runs WHERE id NOT IN (SELECT id FROM before.runs)"


class Work(NamedTuple):
    """What came into the database since it was copied."""

    #: tasks that were accepted
    accepted: int
    #: earlier tasks that were begun or have ended
    continued: int
    #: other changes, such as of schedules, tokens and files
    other: int

    @property
    def is_any(self) -> bool:
        return any(self)

    def describe(self) -> str:
        counts = ((self.accepted, "accepted task"), (self.continued, "earlier task"), (self.other, "other change"))
        return ", ".join(f"{number:,} {what}{'s' if number > 1 else ''}" for number, what in counts if number)


class WayBack(Enum):
    """What happens to the database when the version from before is put back."""

    #: it can use the database as it is
    KEEP = auto()
    #: the copy from before the migration takes its place; no work is lost
    RESTORE = auto()
    #: the copy takes its place, and what came since then is set aside with the other database
    DISCARD = auto()
    #: work would be lost, and nobody allowed that
    REFUSE = auto()
    #: there is no copy that the version from before can use
    NO_COPY = auto()


def choose_way_back(
    *, present: int | None, wanted: int | None, has_copy: bool, has_new_work: bool, may_discard: bool
) -> WayBack:
    """Return what happens to the database on the way back.

    Args:
        present: number of its last migration; None if there is no database in a file.
        wanted: the newest that the version from before can use.
    """
    if present is None or wanted is None or present <= wanted:
        return WayBack.KEEP
    if not has_copy:
        return WayBack.NO_COPY
    if not has_new_work:
        return WayBack.RESTORE
    return WayBack.DISCARD if may_discard else WayBack.REFUSE


class Database:
    """The database of a gateway that keeps it in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def copy_of(self, schema: int) -> Path:
        """Return where the copy from before a migration is."""
        return copies.before_migration(self.path, schema)

    @property
    def undone(self) -> Path:
        """Where the migrated database is until the version from before serves again."""
        return copies.of_undone_update(self.path)

    def choose_aside(self, version: str) -> Path:
        """Return a name for the database that a version migrated, if it is put aside with its work.

        It is a free one, or that which an interrupted exchange gave it already.
        """
        first = copies.of_version(self.path, version)
        others = (first.with_name(f"{first.name}-{number}") for number in count(2))
        return next(
            name
            for name in chain([first], others)
            if not os.path.lexists(name) or (self.path.exists() and _is_same(self.path, name))
        )

    def find_copy(self, wanted: int) -> int | None:
        """Return the newest schema up to this one of which there is a copy; None without one."""
        return copies.find_before_migration(self.path, wanted)

    def read_schema(self) -> int | None:
        """Return the number of the last migration; None if there is no database.

        Raises:
            ConfigError: it cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            with contextlib.closing(apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
                connection.set_busy_timeout(5000)
                return int(connection.pragma("user_version"))
        except apsw.Error as error:
            raise ConfigError(
                f"cannot read the database {self.path}: {error}.", remedy="See: gateway doctor"
            ) from error

    def identify_copy(self, schema: int | None) -> str | None:
        """Return what tells a copy from before a migration from a later one of the same name; None without one."""
        try:
            found = self.copy_of(schema or 0).stat()
        except FileNotFoundError:
            return None
        return f"{found.st_ino}:{found.st_mtime_ns}:{found.st_size}"

    def find_new_work(self, copy: Path) -> Work:
        """Return what came since a copy was made. No gateway may run.

        Raises:
            ConfigError: one of the two cannot be read.
        """
        with self._compare(copy) as connection:
            accepted, continued, tokens = (
                int(connection.execute(asked).get) for asked in (_ACCEPTED, _CONTINUED, _TOKENS)
            )
            other = sum(_count_new_rows(connection, table) for table in _NEW_ROWS)
        return Work(accepted, continued, tokens + other)

    def is_different(self, copy: Path) -> bool:
        """Return whether anything was written since a copy was made, also what is no work. No gateway may run.

        Raises:
            ConfigError: one of the two cannot be read.
        """
        with self._compare(copy) as connection:
            common = _list_tables(connection, "main") & _list_tables(connection, "before")
            wanted = common - _OF_GENERATIONS - _OF_WORK
            more = any(_count_new_rows(connection, table, is_all=True) for table in _NEW_ROWS.keys() - wanted)
            return more or any(_is_table_different(connection, table) for table in sorted(wanted))

    def count_unknown_runs(self, other: Path) -> int:
        """Return how many tasks are in the database, but not in another one. No gateway may run.

        Raises:
            ConfigError: one of the two cannot be read.
        """
        with self._compare(other) as connection:
            return int(connection.execute(_UNKNOWN_RUNS).get)

    @contextlib.contextmanager
    def _compare(self, other: Path) -> Iterator[apsw.Connection]:
        """Yield a connection in which this database is `main`, and the other one `before`.

        Raises:
            ConfigError: one of the two cannot be read.
        """
        try:
            with contextlib.closing(apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
                connection.execute("ATTACH ? AS before", (str(other),))
                yield connection
        except apsw.Error as error:
            raise ConfigError(f"cannot compare {self.path} with {other}: {error}.") from error

    def exchange(self, incoming: Path, keep: Path) -> None:
        """Put another database in the place of this one. No gateway may run. It needs no space on the disk.

        It can be called again after an interruption.

        Args:
            keep: the other name that this one gets.

        Raises:
            ConfigError: this one is in use, or cannot be closed; nothing has changed.
            OSError: a file cannot be renamed; both are there.
        """
        if not incoming.exists():
            return  # it is in place already
        if self.path.exists() and not _is_same(self.path, keep):
            self._close()
            _name_again(self.path, keep)
            sync_path(self.path.parent)
        incoming.replace(self.path)
        sync_path(self.path.parent)

    def _close(self) -> None:
        """Write everything into the file itself, so that it can get another name.

        Raises:
            ConfigError: another program has it open, or it is damaged.
        """
        try:
            with contextlib.closing(apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
                connection.set_busy_timeout(CLOSE_TIMEOUT_MS)
                is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").get
        except apsw.Error as error:
            raise ConfigError(f"cannot close the database {self.path}: {error}.") from error
        if is_busy:
            raise ConfigError(
                f"another program uses the database {self.path}.", remedy="End it, such as sqlite3, and run it again."
            )
        for suffix in ("-wal", "-shm"):  # of this database: the other one has none
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def _list_tables(connection: apsw.Connection, of: str) -> set[str]:
    """Return the tables of a database, without those of the search and of SQLite."""
    asked = "SELECT name FROM pragma_table_list WHERE schema = ? AND type = 'table'"
    names = {str(name) for (name,) in connection.execute(asked, (of,))}
    return {name for name in names if not name.startswith("sqlite_")}


def _count_new_rows(connection: apsw.Connection, table: str, *, is_all: bool = False) -> int:
    """Return how many rows of a table `before` does not have.

    Args:
        is_all: whether rows count, too, that are no work.
    """
    if table not in _list_tables(connection, "main"):
        return 0
    counts, is_new = _NEW_ROWS[table]
    conditions = ["TRUE" if is_all else counts, is_new if table in _list_tables(connection, "before") else "TRUE"]
    return int(connection.execute(f"SELECT count(*) FROM main.{table} WHERE {' AND '.join(conditions)}").get)  # noqa: S608 names of ours


def _is_table_different(connection: apsw.Connection, table: str) -> bool:
    """Return whether a table has other rows in `before`, in the columns that both have."""
    asked = "SELECT name FROM pragma_table_info(?, ?)"
    found = [[str(name) for (name,) in connection.execute(asked, (table, of))] for of in ("main", "before")]
    names = ", ".join(f'"{name}"' for name in found[0] if name in found[1])
    rows = [f'SELECT {names} FROM {of}."{table}"' for of in ("main", "before")]  # noqa: S608 names of ours
    queries = [f"SELECT EXISTS (SELECT * FROM ({one} EXCEPT {other}))" for one, other in (rows, rows[::-1])]  # noqa: S608
    return any(connection.execute(one).get for one in queries)


def _is_same(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)


def _name_again(path: Path, name: Path) -> None:
    """Give a file another name, too; where a file can have one name only, instead of its own."""
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:
        path.rename(name)


def find_database(env: Mapping[str, str]) -> Database | None:
    """Return the database of an installation; None if a server has it.

    Raises:
        ConfigError: the settings cannot be used.
    """
    from gateway import config  # late: imports much

    settings = config.load(env)
    return Database(settings.database_path) if settings.store.url is None else None
