"""The copies next to a database are told by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.store.sqlite import copies


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with two copies from before migrations, and names that only look like one."""
    path = tmp_path / "moongate.db"
    others = ("", "-wal", ".schema-9.new", ".schema-", ".schema-x", ".of-0.2.0", ".update-undone", ".schema-0")
    for ending in (*others, ".schema-8", ".schema-12"):
        path.with_name(path.name + ending).touch()
    (tmp_path / "other.db.schema-11").touch()
    return path


def test_only_complete_copies_from_before_migrations_are_listed(database: Path) -> None:
    expected = {number: copies.before_migration(database, number) for number in (8, 12)}
    assert copies.list_before_migration(database) == expected


@pytest.mark.parametrize(("newest", "found"), [(7, None), (8, 8), (11, 8), (12, 12), (99, 12)])
def test_the_newest_copy_that_a_version_can_read_is_found(database: Path, newest: int, found: int | None) -> None:
    assert copies.find_before_migration(database, newest) == found


def test_all_copies_are_listed_so_that_a_restore_puts_them_aside(database: Path) -> None:
    found = copies.list_all(database)
    assert copies.of_version(database, "0.2.0") in found
    assert copies.of_undone_update(database) in found
    assert {file.name for file in found} == {
        file.name for file in database.parent.iterdir() if file.name.startswith("moongate.db.")
    }


def test_there_are_no_copies_where_there_is_no_directory(tmp_path: Path) -> None:
    assert not copies.list_before_migration(tmp_path / "none/moongate.db")
