"""What happens to the database on the way back, and what is counted as work since then."""

from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path

import pytest

from cli.update.database import Database, WayBack, choose_way_back

DATABASES = Path(__file__).parent.parent.parent / "data/databases"


@pytest.mark.parametrize(
    ("present", "wanted", "has_copy", "has_new_work", "may_discard", "way"),
    [
        (5, 5, False, True, False, WayBack.KEEP),
        (5, 6, False, True, False, WayBack.KEEP),
        (None, 5, False, False, False, WayBack.KEEP),
        (6, None, True, True, False, WayBack.KEEP),
        (6, 5, False, False, True, WayBack.NO_COPY),
        (6, 5, True, False, False, WayBack.RESTORE),
        (6, 5, True, False, True, WayBack.RESTORE),
        (6, 5, True, True, False, WayBack.REFUSE),
        (6, 5, True, True, True, WayBack.DISCARD),
    ],
)
def test_nothing_is_lost_without_a_word(
    present: int | None, wanted: int | None, has_copy: bool, has_new_work: bool, may_discard: bool, way: WayBack
) -> None:
    assert way is choose_way_back(
        present=present, wanted=wanted, has_copy=has_copy, has_new_work=has_new_work, may_discard=may_discard
    )


@pytest.fixture
def found(tmp_path: Path) -> Database:
    made = Database(tmp_path / "moongate.db")
    content = gzip.decompress((DATABASES / "0.1.0.db.gz").read_bytes())
    made.path.write_bytes(content)
    made.copy_of(13).write_bytes(content)
    return made


def test_a_database_and_its_copy_differ_in_no_work(found: Database) -> None:
    assert (found.read_schema(), found.find_copy(20), found.find_copy(12)) == (13, 13, None)
    assert not found.find_new_work(found.copy_of(13)).is_any


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (None, "1 accepted task"),
        ("UPDATE runs SET epoch = epoch + 1 WHERE seq = 1", "1 earlier task"),
        ("UPDATE runs SET status = 'cancelled', ready = 0 WHERE status = 'running'", "1 earlier task"),
        ("INSERT INTO changes (topic, ref, state, agent, session, at) VALUES ('schedule', 'x', 'new', '', '', 1)",
         "1 other change"),
        ("INSERT INTO tokens (name, hash, scope, created) VALUES ('new', 'x', 'read', 1)", "1 other change"),
    ],
)  # fmt: skip
def test_work_since_the_copy_is_counted(found: Database, statement: str | None, said: str) -> None:
    with sqlite3.connect(found.path) as database:
        database.execute(statement or _copy_first_run(database))
    database.close()
    work = found.find_new_work(found.copy_of(13))
    assert work.is_any
    assert work.describe() == said


def _copy_first_run(database: sqlite3.Connection) -> str:
    """Return a statement that adds a run like the first one."""
    names = [row[1] for row in database.execute("PRAGMA table_info(runs)") if row[1] not in ("seq", "id")]
    values = ", ".join({"ready": "0", "status": "'held'"}.get(name, name) for name in names)
    return f"INSERT INTO runs (seq, id, {', '.join(names)}) SELECT seq + 100, 'new', {values} FROM runs WHERE seq = 1"


def test_a_copy_takes_the_place_of_a_database_that_may_be_kept_aside(found: Database) -> None:
    with sqlite3.connect(found.path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("INSERT INTO tokens (name, hash, scope, created) VALUES ('new', 'x', 'read', 1)")
    aside = found.aside_of("9.9.9")
    found.put_back(found.copy_of(13), aside)
    database.close()

    def tokens(file: Path) -> int:
        with sqlite3.connect(file) as opened:
            return int(opened.execute("SELECT count(*) FROM tokens WHERE name = 'new'").fetchone()[0])

    assert (tokens(found.path), tokens(aside)) == (0, 1)
    assert not found.copy_of(13).exists()
