"""What an update did to the database, and whether the version from before can have its own back.

Before a migration, the gateway copies the database to `moongate.db.schema-N`. An older version refuses a newer
schema, so the way back needs that copy, and what came since then is not in it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from enum import Enum, auto
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from gateway.errors import ConfigError, Conflict
from gateway.private_file import sync_path

#: milliseconds to wait for another program that uses the database
CLOSE_TIMEOUT_MS = 5000
#: topic of the changes of runs
_RUN_TOPIC = "run"
#: counts what is in `main` and not in `before`: runs, runs that went on, and other changes
_NEW_WORK = """
SELECT
  (SELECT count(*) FROM runs WHERE seq > (SELECT coalesce(max(seq), 0) FROM before.runs)),
  (SELECT count(*) FROM runs AS now JOIN before.runs AS old USING (id)
    WHERE now.epoch > old.epoch
      OR (now.status IN ('succeeded', 'failed', 'cancelled') AND now.status != old.status)),
  (SELECT count(*) FROM changes
    WHERE topic != ? AND seq > (SELECT coalesce(max(seq), 0) FROM before.changes))
  + (SELECT count(*) FROM tokens WHERE name NOT IN (SELECT name FROM before.tokens))
"""

#: counts the tasks that only `main` has
_UNKNOWN_RUNS = "SELECT count(*) FROM runs WHERE id NOT IN (SELECT id FROM other.runs)"


class Work(NamedTuple):
    """What came into the database since it was copied."""

    #: tasks that were accepted
    accepted: int
    #: earlier tasks that were begun or have ended
    continued: int
    #: other changes, such as of schedules and tokens
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
    #: the copy from before the migration takes its place; nothing is lost
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
        return self.path.with_name(f"{self.path.name}.schema-{schema}")

    def choose_aside(self, version: str) -> Path:
        """Return a free name for the database that a version migrated, if it is put aside with its work."""
        first = self.path.with_name(f"{self.path.name}.of-{version}")
        others = (first.with_name(f"{first.name}-{number}") for number in count(2))
        return next(name for name in chain([first], others) if not os.path.lexists(name))

    def find_copy(self, wanted: int) -> int | None:
        """Return the newest schema up to this one of which there is a copy; None without one."""
        return next((number for number in range(wanted, 0, -1) if self.copy_of(number).exists()), None)

    def read_schema(self) -> int | None:
        """Return the number of the last migration; None if there is no database.

        Raises:
            ConfigError: it cannot be read.
        """
        import apsw  # late: few commands need it

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
        import apsw

        try:
            with contextlib.closing(apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
                connection.execute("ATTACH ? AS before", (str(copy),))
                one = connection.execute(_NEW_WORK, (_RUN_TOPIC,)).get
        except apsw.Error as error:
            raise ConfigError(f"cannot compare {self.path} with {copy}: {error}.") from error
        return Work(*one)

    def count_unknown_runs(self, other: Path) -> int:
        """Return how many tasks are in the database, but not in another one. No gateway may run.

        Raises:
            ConfigError: one of the two cannot be read.
        """
        import apsw

        try:
            with contextlib.closing(apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
                connection.execute("ATTACH ? AS other", (str(other),))
                return int(connection.execute(_UNKNOWN_RUNS).get)
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
        import apsw

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


def refuse_loss(work: Work, version: str) -> Conflict:
    """Return the error of a way back on which work would be lost."""
    return Conflict(
        f"version {version} cannot read the migrated database, and the copy from before has not what came since then:"
        f" {work.describe()}.",
        remedy="Nothing has changed. To go back without it: gateway update --rollback --discard-work-since-update"
        " (the present database is kept aside)",
    )
