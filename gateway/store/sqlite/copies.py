"""The copies of a database that stand next to it: what each is called, and how copies are made.

Each name is that of the database, a dot, and what the copy is. So a restore can put all of them aside together.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

#: how the names of copies go on that were made before a migration; the number is that of the schema in them
_BEFORE_MIGRATION = re.compile(r"\.schema-(?P<schema>[1-9][0-9]{0,8})")
#: steps of SQLite's machine between two calls that show how far a copy is
_STEPS_PER_CALL = 200_000


def before_migration(database: Path, schema: int) -> Path:
    """Return the copy that is made before a database of this schema is migrated."""
    return database.with_name(f"{database.name}.schema-{schema}")


def of_version(database: Path, version: str) -> Path:
    """Return the database with the work of a version, while an older version has the copy from before in its place."""
    return database.with_name(f"{database.name}.of-{version}")


def of_undone_update(database: Path) -> Path:
    """Return the migrated database of an update that is being undone; nothing came into it."""
    return database.with_name(f"{database.name}.update-undone")


def list_before_migration(database: Path) -> dict[int, Path]:
    """Return the complete copies that were made before migrations, by their schemas."""
    named = ((_BEFORE_MIGRATION.fullmatch(file.name[len(database.name) :]), file) for file in list_all(database))
    return {int(found["schema"]): file for found, file in named if found is not None}


def find_before_migration(database: Path, newest: int) -> int | None:
    """Return the newest schema up to this one of which there is a copy from before a migration; None without one."""
    return max((schema for schema in list_before_migration(database) if schema <= newest), default=None)


def list_all(database: Path) -> Sequence[Path]:
    """Return all copies next to a database, also incomplete ones."""
    return sorted(database.parent.glob(f"{database.name}.*"))


def copy_pages(connection: apsw.Connection, target: Path) -> None:
    """Copy a database that nobody else uses, page by page: damage is copied, too, so that it keeps nobody from a copy.

    Args:
        target: a file that does not exist yet, or is empty.

    Raises:
        apsw.Error: the disk refuses.
    """
    with contextlib.closing(apsw.Connection(str(target))) as copy, copy.backup("main", connection, "main") as backup:
        backup.step()


def copy_database(connection: apsw.Connection, target: Path, on_step: Callable[[], None] = lambda: None) -> None:
    """Copy a database as it is at this moment. Work with it goes on, and what comes later is not in the copy.

    All tables are read, so that no damaged database becomes a backup.

    Args:
        target: a file that does not exist yet, or is empty.
        on_step: called again and again; it may raise to end the copy.

    Raises:
        apsw.Error: it is damaged, or the disk refuses.
    """
    interrupted: list[BaseException] = []

    def step() -> bool:
        try:
            on_step()
        except BaseException as error:
            interrupted.append(error)
        return bool(interrupted)

    connection.set_progress_handler(step, _STEPS_PER_CALL)
    try:
        # `.backup` of SQLite begins again at each write of another process, and would not end on a busy gateway. If we
        # read the file ourselves, closing it would drop SQLite's locks.
        connection.execute("VACUUM INTO ?", (str(target),))
    except apsw.InterruptError:
        if interrupted:
            raise interrupted[0] from None
        raise
    finally:
        connection.set_progress_handler(None)
