"""Opening the database file: never a wrong file, and never an empty one in place of a missing one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from gateway.domain.page import Page
from gateway.domain.run import RunFilter
from gateway.domain.times import wall_clock
from gateway.errors import ConfigError, Unavailable
from gateway.store.sqlite import copies, opening
from gateway.store.sqlite.opening import Migration
from gateway.store.sqlite.store import SqliteStore
from harness.waiting import PATIENCE
from tests.contracts.stores import claim_one, finish, spec
from tests.support import prepared_database

KNOWN = opening.read_migrations()
FIRST = KNOWN[0]
GOOD = Migration(len(KNOWN) + 1, "9998_more.sql", "CREATE TABLE more (x INTEGER) STRICT")
BAD = Migration(len(KNOWN) + 2, "9999_bad.sql", "CREATE TABLE half (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1)")
#: fails as on a full disk: SQLite says the same of a table that has no more numbers for its rows:
#: https://www.sqlite.org/autoinc.html
FILL = (
    "CREATE TABLE filler (id INTEGER PRIMARY KEY AUTOINCREMENT);"
    "INSERT INTO filler VALUES (9223372036854775807); INSERT INTO filler DEFAULT VALUES"
)


@pytest.fixture(autouse=True)
def migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the migrations make new databases here, as they do outside of tests."""
    monkeypatch.setattr(opening, "_apply_migrations", prepared_database.apply_migrations)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "moongate.db"


async def filled(path: Path, runs: int = 1) -> list[str]:
    """Create a database with ended runs, and return their ids."""
    store = SqliteStore(path)
    ids = []
    for number in range(runs):
        await store.runs.accept(spec(f"main:test:{number}", text=f"question {number} " * 20))
        ids.append((await finish(store, await claim_one(store))).id)
    await store.close()
    return ids


async def refused(path: Path) -> str:
    """Open the database, check that it is refused and unchanged, and return the error message."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigError) as caught:
        await SqliteStore(path).close()
    assert (path.read_bytes() if path.is_file() else None) == before
    assert caught.value.exit_code == 78
    return str(caught.value)


# --- files that are not ours ------------------------------------------------------------------


async def test_an_empty_file_is_not_taken_for_a_new_database(path: Path) -> None:
    path.parent.mkdir()
    path.touch()

    message = await refused(path)

    assert str(path) in message
    assert "0 bytes" in message


@pytest.mark.parametrize("content", [b"x", b"SQLite format 3\0", b"\0" * 4096, b"{}" * 3000])
async def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    assert str(path) in await refused(path)


async def test_the_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with_table = apsw.Connection(str(path))
    with_table.execute("CREATE TABLE theirs (x)")
    with_table.close()

    assert "another program" in await refused(path)


async def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    await filled(tmp_path / "real.db")
    path.parent.mkdir()
    path.symlink_to(tmp_path / "real.db")

    assert "not a plain file" in await refused(path)


async def test_a_directory_in_place_of_the_database_is_refused(path: Path) -> None:
    path.mkdir(parents=True)

    assert "not a plain file" in await refused(path)


async def test_a_read_only_database_says_what_to_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's error is simulated: root may write to every file, and a test cannot mount."""
    await filled(path)

    def fail(*_: object) -> None:
        raise apsw.ReadOnlyError("attempt to write a readonly database")

    monkeypatch.setattr(opening, "_apply_migrations", fail)

    assert f"the database {path} cannot be written to: it is read-only." in await refused(path)


async def test_a_database_that_cannot_be_created_says_why(path: Path) -> None:
    path.parent.mkdir()
    (path.parent / "moongate.db.new").mkdir()  # where the draft would be

    assert f"cannot create the database {path}: " in await refused(path)
    assert not path.exists()


async def test_a_missing_database_is_not_replaced_while_its_write_ahead_log_exists(path: Path) -> None:
    store = SqliteStore(path)
    await store.runs.accept(spec())
    wal = path.with_name("moongate.db-wal")
    saved = wal.read_bytes()
    await store.close()
    path.unlink()
    wal.write_bytes(saved)

    message = await refused(path)

    assert "missing" in message
    assert wal.read_bytes() == saved


async def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "find_file_system", lambda _: "nfs4")

    message = await refused(path)

    assert "nfs4" in message
    assert not path.exists()


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone", "afpfs"])
def test_network_file_systems_are_known(kind: str) -> None:
    assert opening.NETWORK_FILE_SYSTEMS.match(kind)


@pytest.mark.parametrize("kind", ["", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "NTFS", "fuseblk"])
def test_local_file_systems_are_taken(kind: str) -> None:
    assert not opening.NETWORK_FILE_SYSTEMS.match(kind)


def test_the_file_system_of_a_directory_that_is_not_there_yet_is_its_parents(tmp_path: Path) -> None:
    assert opening.find_file_system(tmp_path / "a" / "b") == opening.find_file_system(tmp_path)


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = tmp_path / "a share"
    mounts = tmp_path / "mounts"
    escaped = str(mounted).replace(" ", "\\040")
    mounts.write_text(f"root / ext4 rw 0 0\nhost:/x {escaped} nfs4 rw,addr=10.0.0.1 0 0\n")
    monkeypatch.setattr(opening, "MOUNTS_FILE", mounts)

    assert opening.find_file_system(mounted / "data") == "nfs4"
    assert opening.find_file_system(tmp_path / "a") == "ext4"


@pytest.mark.skipif(not opening.MOUNTS_FILE.exists(), reason="there is one source only")
def test_both_sources_of_mounts_say_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read = opening._list_mounts()
    monkeypatch.setattr(opening, "MOUNTS_FILE", tmp_path / "missing")

    assert opening._list_mounts() == read


# --- a new database ---------------------------------------------------------------------------


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
async def test_only_the_owner_can_read_the_database(path: Path) -> None:
    store = SqliteStore(path)
    await store.runs.accept(spec())

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    await store.close()

    assert modes == {"moongate.db": 0o600, "moongate.db-wal": 0o600, "moongate.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_an_unfinished_file_of_an_interrupted_start_does_no_harm(path: Path) -> None:
    path.parent.mkdir()
    for name in ("moongate.db.new", "moongate.db.new-journal"):
        path.with_name(name).write_bytes(b"half")

    await filled(path)

    assert [file.name for file in path.parent.iterdir()] == ["moongate.db"]


async def test_a_commit_is_flushed_to_the_disk(path: Path) -> None:
    connection = opening.open_writer(path, wall_clock)

    settings = [connection.pragma(name) for name in ("journal_mode", "synchronous", "foreign_keys")]
    connection.close()

    assert settings == ["wal", 2, 1]


async def test_closing_leaves_the_whole_database_in_one_file(path: Path) -> None:
    store = SqliteStore(path)
    await store.runs.accept(spec())
    await asyncio.gather(*(store.runs.count_totals(0) for _ in range(10)))

    await store.close()

    assert [file.name for file in path.parent.iterdir()] == ["moongate.db"]


# --- migrations -------------------------------------------------------------------------------


def with_migrations(monkeypatch: pytest.MonkeyPatch, *known: Migration) -> None:
    monkeypatch.setattr(opening, "read_migrations", lambda: list(known))


def schema(path: Path) -> tuple[int, set[str]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    version = connection.pragma("user_version")
    connection.close()
    return version, tables


async def test_a_newer_schema_is_refused(path: Path) -> None:
    await filled(path)
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 99)
    connection.close()

    message = await refused(path)

    assert "99" in message
    assert "newer" in message
    assert "schema-" not in message
    for number in (1, len(KNOWN), 98):
        path.with_name(f"{path.name}.schema-{number}").touch()
    assert f"copy moongate.db.schema-{len(KNOWN)} to its place" in await refused(path)


async def test_a_changed_migration_is_detected(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(path)
    with_migrations(monkeypatch, FIRST._replace(sql=FIRST.sql + "-- edited"), *KNOWN[1:])

    assert FIRST.name in await refused(path)


async def test_a_copy_is_made_before_a_migration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = await filled(path)
    with_migrations(monkeypatch, *KNOWN, GOOD)
    await SqliteStore(path).close()

    copy = path.with_name(f"moongate.db.schema-{len(KNOWN)}")
    assert "more" in schema(path)[1]
    assert (schema(copy)[0], stat.S_IMODE(copy.stat().st_mode)) == (len(KNOWN), 0o600)
    with_migrations(monkeypatch, *KNOWN)
    kept = SqliteStore(copy)
    assert (await kept.runs.get(run)).status == "succeeded"
    await kept.close()


async def test_a_copy_that_cannot_be_made_leaves_the_earlier_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise OSError(28, "No space left on device")

    await filled(path)
    copy = path.with_name(f"moongate.db.schema-{len(KNOWN)}")
    copy.write_text("earlier")
    connection = apsw.Connection(str(path))
    monkeypatch.setattr(opening, "sync_path", refuse)
    with pytest.raises(ConfigError, match=r"is not migrated: the disk of .* is full"):
        opening._copy_before_migration(connection, path, len(KNOWN))
    connection.close()
    assert copy.read_text() == "earlier"


async def test_damage_of_a_table_keeps_nobody_from_a_copy_and_a_migration(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(path, runs=20)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        asked = "SELECT pageno, pgsize FROM dbstat WHERE name = 'runs' AND pagetype = 'leaf' ORDER BY pageno DESC"
        page, size = next(connection.execute(asked))
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes([255]) * size)
    with_migrations(monkeypatch, *KNOWN, GOOD)
    await SqliteStore(path).close()
    assert schema(path)[0] == len(KNOWN) + 1
    assert schema(copies.before_migration(path, len(KNOWN)))[0] == len(KNOWN)


async def test_a_full_disk_is_named_before_a_migration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    await filled(path)
    with_migrations(monkeypatch, *KNOWN, GOOD)
    monkeypatch.setattr(copies, "copy_pages", fail)
    assert f"{path} cannot be copied to {path.name}.schema-{len(KNOWN)}, and is not migrated: the disk of" in (
        await refused(path)
    )
    assert schema(path)[0] == len(KNOWN)
    assert not copies.list_all(path)


async def test_a_disk_that_is_full_in_the_middle_of_migrations_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(path)
    with_migrations(monkeypatch, *KNOWN, GOOD, Migration(len(KNOWN) + 2, "9999_full.sql", FILL))
    with pytest.raises(ConfigError, match=f"the disk of {path.parent} is full") as caught:
        SqliteStore(path)
    assert caught.value.remedy == "Free some space, and try again: it goes on."
    assert schema(path)[0] == len(KNOWN) + 1


async def test_a_disk_without_room_for_a_new_database_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_migrations(monkeypatch, Migration(1, "0001_full.sql", FILL))
    assert await refused(path) == (
        f"cannot create the database {path}: the disk is full. Free some space, or set data.directory."
    )
    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can mount a small disk")
def test_a_disk_that_is_full_is_named_wherever_the_database_finds_it(tmp_path: Path) -> None:
    """Open one in a mount of its own: whole, with less and less room until there is none."""
    program = textwrap.dedent(
        """
        import os, subprocess, sys
        from functools import partial
        from pathlib import Path

        from gateway.domain.times import wall_clock
        from gateway.errors import ConfigError
        from gateway.store.sqlite.opening import open_finished, open_writer

        disk = Path(sys.argv[1])
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
        open_writer(disk / "moongate.db", wall_clock).close()
        for room in (8192, 4096, 0):
            with (disk / "filler").open("wb", buffering=0) as filler:
                space = os.statvfs(disk)
                filler.write(bytes(space.f_bavail * space.f_frsize - room))
            for opened in (partial(open_writer, clock=wall_clock), open_finished):
                try:
                    opened(disk / "moongate.db").close()
                except ConfigError as error:
                    print(error)
            (disk / "filler").unlink()
        open_writer(disk / "moongate.db", wall_clock).close()
        """
    )
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this system does not allow private mounts")
    (disk := tmp_path / "disk").mkdir()
    command = ["unshare", "-m", sys.executable, "-c", program, str(disk)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)

    assert done.returncode == 0, done.stderr
    said = f"the disk of {disk} is full: the database moongate.db cannot be opened, or not be migrated further."
    assert done.stdout.splitlines() == [f"{said} Free some space, and try again: it goes on."] * 6


async def test_a_new_database_needs_no_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_migrations(monkeypatch, *KNOWN, GOOD)
    await SqliteStore(path).close()

    assert [file.name for file in path.parent.iterdir()] == ["moongate.db"]
    assert schema(path)[0] == GOOD.number


async def test_a_migration_that_fails_in_the_middle_leaves_the_schema_before_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = await filled(path)
    with_migrations(monkeypatch, *KNOWN, GOOD, BAD)
    with pytest.raises(ConfigError):
        SqliteStore(path)

    version, tables = schema(path)
    assert (version, "more" in tables, "half" in tables) == (GOOD.number, True, False)
    with_migrations(monkeypatch, *KNOWN, GOOD)
    store = SqliteStore(path)
    assert (await store.runs.get(run)).status == "succeeded"
    await store.close()


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    known = opening.read_migrations()

    assert [migration.number for migration in known] == list(range(1, len(known) + 1))


# --- damage -----------------------------------------------------------------------------------


async def look(path: Path) -> list[str]:
    """Open a database, read everything, write something, and return the ids of its runs."""
    store = SqliteStore(path)
    try:
        runs = await store.runs.list(RunFilter(), Page(limit=1000))
        for run in runs:
            await store.events.read_after(run.id, 0, 100)
            await store.sessions.read_history(run.spec.session, 10)
        await store.sessions.list(Page(limit=1000))
        await store.runs.count_totals(0)
        await store.runs.accept(spec("main:test:new"))
        return [run.id for run in runs]
    finally:
        await store.close()


async def outcome(path: Path) -> str | list[str]:
    """Return the ids of a database's runs, or the error of opening it."""
    try:
        return await look(path)
    except (ConfigError, Unavailable) as error:
        return str(error)
    except apsw.ConstraintError:  # the damage hides the newest runs: a new one would take the place of theirs
        return str(path)


async def test_a_damaged_database_is_never_taken_for_an_empty_one(path: Path, tmp_path: Path) -> None:
    ids = await filled(path, runs=60)
    whole = path.read_bytes()
    dice = random.Random(os.environ.get("MOONGATE_TEST_SEED", "moon"))
    outcomes = {"as it was": 0, "refused": 0, "less": 0}
    for number in range(50):
        offset = dice.randrange(len(whole) - 64)
        damaged = tmp_path / f"{number}.db"
        damaged.write_bytes(whole[:offset] + dice.randbytes(64) + whole[offset + 64 :])
        found = await outcome(damaged)
        assert str(damaged) in found if isinstance(found, str) else found, offset
        outcomes["refused" if isinstance(found, str) else "as it was" if found == ids[::-1] else "less"] += 1
    assert outcomes["refused"] > 3, outcomes


async def test_a_damaged_write_ahead_log_loses_nothing_that_was_in_the_database(path: Path) -> None:
    ids = await filled(path, runs=5)
    store = SqliteStore(path)
    await store.runs.accept(spec("main:test:in-the-log"))
    wal = path.with_name("moongate.db-wal")
    torn = wal.read_bytes()[:-100]
    await store.close()
    wal.write_bytes(torn)

    reopened = SqliteStore(path)
    found = {run.id for run in await reopened.runs.list(RunFilter(), Page(limit=100))}
    await reopened.close()

    assert set(ids) <= found


async def test_damage_found_while_running_names_the_file(path: Path) -> None:
    await filled(path, runs=60)
    store = SqliteStore(path)
    root = os.open(path, os.O_WRONLY)
    os.pwrite(root, os.urandom(path.stat().st_size - 4096), 4096)
    os.close(root)

    results = await asyncio.gather(
        store.runs.accept(spec()), store.runs.list(RunFilter(), Page(limit=100)), return_exceptions=True
    )
    await store.close()

    for result in results:
        assert isinstance(result, Unavailable)
        assert str(path) in str(result)


def test_migrations_have_consecutive_numbers() -> None:
    numbers = [migration.number for migration in opening.read_migrations()]

    assert numbers == list(range(1, len(numbers) + 1))


def test_a_database_that_tests_copy_is_as_the_migrations_make_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(made: Path) -> object:
        with contextlib.closing(opening.open_writer(made, lambda: 1_700_000_000_000)) as database:
            schema = list(database.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2"))
            rows = {
                name: list(database.execute(f'SELECT * FROM "{name}"')) for kind, name, *_ in schema if kind == "table"
            }
            pragmas = "application_id", "user_version", "page_size", "encoding", "journal_mode", "auto_vacuum"
            return schema, rows, [database.pragma(name) for name in pragmas], stat.S_IMODE(made.stat().st_mode)

    migrated = describe(path)
    monkeypatch.undo()

    assert opening._apply_migrations is not prepared_database.apply_migrations
    assert describe(path.with_name("copied.db")) == migrated
