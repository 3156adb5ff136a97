"""New databases of stores in the test's process are copies of one: all migrations take long for thousands of tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from gateway.domain.times import Clock, wall_clock
from gateway.store.sqlite import opening

#: applies the migrations one after the other: for tests of just that
apply_migrations = opening._apply_migrations


@contextlib.contextmanager
def copied() -> Iterator[None]:
    """Fill each empty database from one that the migrations have made; what follows is checked as ever.

    Nothing is copied while a test has replaced the migrations.
    """
    read_migrations = opening.read_migrations
    with contextlib.closing(apsw.Connection(":memory:")) as made, pytest.MonkeyPatch.context() as patch:
        made.execute(f"PRAGMA application_id = {opening.APPLICATION_ID}")
        opening.add_functions(made)
        apply_migrations(made, Path(":memory:"), wall_clock)

        def copy_or_apply(connection: apsw.Connection, path: Path, clock: Clock) -> None:
            is_new = not connection.execute("SELECT count(*) FROM sqlite_schema").get
            if is_new and opening.read_migrations is read_migrations:
                with connection.backup("main", made, "main") as copy:
                    copy.step()
                connection.execute("UPDATE migrations SET at = ?", (clock(),))
            apply_migrations(connection, path, clock)

        patch.setattr(opening, "_apply_migrations", copy_or_apply)
        yield
