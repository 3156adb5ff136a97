"""What happens to the database on the way back, and what is counted as work since then."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sqlite3
from pathlib import Path

import apsw
import pytest

from cli.update import database
from cli.update.database import Database, WayBack, choose_way_back
from gateway.domain.times import wall_clock
from gateway.errors import ConfigError
from gateway.store.sqlite import opening

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
        ("DELETE FROM tokens WHERE name = 'kept'", "1 other change"),
        ("UPDATE tokens SET scope = 'write' WHERE name = 'kept'", "1 other change"),
    ],
)  # fmt: skip
def test_work_since_the_copy_is_counted(found: Database, statement: str | None, said: str) -> None:
    for path in (found.path, found.copy_of(13)):
        with contextlib.closing(sqlite3.connect(path)) as opened, opened:
            opened.execute("INSERT INTO tokens (name, hash, scope, created) VALUES ('kept', 'k', 'read', 1)")
    assert not found.is_different(found.copy_of(13))
    with contextlib.closing(sqlite3.connect(found.path)) as opened, opened:
        opened.execute(statement or _copy_first_run(opened))
    work = found.find_new_work(found.copy_of(13))
    assert work.is_any
    assert work.describe() == said


_AUDIT = (
    "(at, who_kind, who, address, action, target, outcome, details) VALUES (1, '{}', 'x', '', 'a', '', 'ok', '{{}}')"
)
_ALERT = "(id, receiver, status, content, attempt, next_at, created) VALUES ('{}', 'r', '{}', '{{}}', 0, 1, 1)"


@pytest.mark.parametrize(
    ("statements", "is_work", "is_different"),
    [
        ((), False, False),
        (("INSERT INTO contents VALUES ('s', 1)",
          "INSERT INTO files (id, sha256, name, media_type, size, created) VALUES ('f', 's', 'n', 't', 1, 1)"),
         True, True),
        ((f"INSERT INTO audit {_AUDIT.format('token')}",), True, True),
        ((f"INSERT INTO audit {_AUDIT.format('stranger')}",), False, True),
        (("UPDATE alert_messages SET status = 'delivered'",), True, True),
        ((f"INSERT INTO alert_messages {_ALERT.format('b', 'pending')}",), False, True),
        (("INSERT INTO token_uses VALUES ('x', 1, '', '')",), False, False),
    ],
)  # fmt: skip
def test_what_came_into_newer_tables_is_counted(
    tmp_path: Path, statements: tuple[str, ...], is_work: bool, is_different: bool
) -> None:
    found = Database(tmp_path / "moongate.db")
    opening.open_writer(found.path, wall_clock).close()
    with contextlib.closing(sqlite3.connect(found.path)) as opened, opened:
        opened.execute(f"INSERT INTO alert_messages {_ALERT.format('a', 'pending')}")
    shutil.copyfile(found.path, copy := found.copy_of(9))
    with contextlib.closing(sqlite3.connect(found.path)) as opened, opened:
        for statement in statements:
            opened.execute(statement)
    assert (found.find_new_work(copy).is_any, found.is_different(copy)) == (is_work, is_different)


def test_rows_of_a_table_that_only_the_newer_version_has_are_counted(found: Database) -> None:
    with contextlib.closing(sqlite3.connect(found.path)) as opened, opened:
        opened.execute("CREATE TABLE files (id TEXT)")
        assert not found.find_new_work(found.copy_of(13)).is_any
        opened.execute("INSERT INTO files VALUES ('new')")
        opened.commit()
        assert found.find_new_work(found.copy_of(13)).describe() == "1 other change"


def _copy_first_run(opened: sqlite3.Connection) -> str:
    """Return a statement that adds a run like the first one."""
    names = [row[1] for row in opened.execute("PRAGMA table_info(runs)") if row[1] not in ("seq", "id")]
    values = ", ".join({"ready": "0", "status": "'held'"}.get(name, name) for name in names)
    return f"INSERT INTO runs (seq, id, {', '.join(names)}) SELECT seq + 100, 'new', {values} FROM runs WHERE seq = 1"


def _has_token(file: Path) -> bool:
    with contextlib.closing(sqlite3.connect(file)) as opened:
        return bool(opened.execute("SELECT count(*) FROM tokens WHERE name = 'new'").fetchone()[0])


def _add_token(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode = WAL")
    with database:
        database.execute("INSERT INTO tokens (name, hash, scope, created) VALUES ('new', 'x', 'read', 1)")
    return database


@pytest.mark.parametrize("has_links", [True, False])
def test_a_copy_takes_the_place_of_a_database_that_is_kept_aside(
    found: Database, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", _refuse_link)
    _add_token(found.path).close()
    aside = found.choose_aside("9.9.9")
    found.exchange(found.copy_of(13), aside)
    assert (_has_token(found.path), _has_token(aside)) == (False, True)
    assert not found.copy_of(13).exists()
    found.exchange(found.copy_of(13), aside)  # it was interrupted after that
    assert (_has_token(found.path), _has_token(aside)) == (False, True)


def _refuse_link(*names: object) -> None:
    raise PermissionError("no links here")


@pytest.mark.parametrize("is_linked", [True, False])
def test_an_exchange_of_databases_that_was_killed_goes_on(found: Database, is_linked: bool) -> None:
    _add_token(found.path).close()
    aside = found.choose_aside("9.9.9")
    if is_linked:
        os.link(found.path, aside)
    else:
        found.path.rename(aside)
    found.exchange(found.copy_of(13), aside)
    assert (_has_token(found.path), _has_token(aside)) == (False, True)


def test_a_database_that_is_in_use_is_not_exchanged(found: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CLOSE_TIMEOUT_MS", 1)
    _add_token(found.path).close()
    with contextlib.closing(apsw.Connection(str(found.path))) as reading:  # the same library as that of the code
        reading.execute("BEGIN")
        assert reading.execute("SELECT count(*) FROM tokens").get
        with contextlib.closing(apsw.Connection(str(found.path))) as writing:
            writing.execute("UPDATE tokens SET hash = 'y' WHERE name = 'new'")
        with pytest.raises(ConfigError, match="another program uses"):
            found.exchange(found.copy_of(13), found.choose_aside("9.9.9"))
    assert _has_token(found.path)
    assert found.copy_of(13).exists()


def test_what_was_kept_aside_is_never_overwritten(found: Database) -> None:
    names = []
    for _ in range(3):
        names.append(found.choose_aside("9.9.9"))
        names[-1].write_bytes(b"")
    assert [name.name for name in names] == [
        "moongate.db.of-9.9.9",
        "moongate.db.of-9.9.9-2",
        "moongate.db.of-9.9.9-3",
    ]


def test_a_database_that_cannot_be_read_is_not_taken_for_an_old_one(found: Database) -> None:
    found.path.write_bytes(b"x" * 4096)
    with pytest.raises(ConfigError, match="cannot read the database"):
        found.read_schema()


def test_a_later_copy_is_told_from_one_that_was_there(found: Database) -> None:
    before = found.identify_copy(13)
    content = found.copy_of(13).read_bytes()
    found.copy_of(13).rename(found.path.with_name("other"))
    found.copy_of(13).write_bytes(content)
    assert found.identify_copy(13) not in (None, before)
    assert found.identify_copy(12) is None
