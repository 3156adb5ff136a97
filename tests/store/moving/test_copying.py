"""A store is copied row for row into one of the other kind, and works there as before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
import pytest

from gateway.domain import search
from gateway.domain.ports.store import Store
from gateway.domain.search import SearchQuery
from gateway.domain.times import wall_clock
from gateway.errors import AlreadyRunning, ConfigError, Conflict, InternalError, Unavailable, Unreadable
from gateway.store.moving import copying, mark
from gateway.store.moving.copying import CopiedTable
from gateway.store.moving.postgres_side import PostgresSide
from gateway.store.moving.side import Row, Side
from gateway.store.moving.sqlite_side import SqliteSide
from gateway.store.moving.tables import Table, read_tables
from gateway.store.postgres import opening
from gateway.store.postgres.store import PostgresStore
from gateway.store.sql.transaction import Connection
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import PAGE, SteppedClock, spec
from tests.contracts.test_store_history import generation
from tests.contracts.test_store_schedules import made
from tests.store.moving.filled import fill, read_postgres, read_sqlite
from tests.support import postgres

#: what SQLite keeps for its index of words, and PostgreSQL for its own
OWN_COLUMNS = {
    "runs": {"dispatched"},
    "sessions": {"host", "moved_from"},
    "workspaces": {"host"},
    "processes": {"host"},
    "deliveries": {"owner"},
}


@pytest.fixture
def url() -> str:
    """An empty database of PostgreSQL."""
    return postgres.shared_server().url(postgres.create_database())


@pytest.fixture
async def file(tmp_path: Path, clock: SteppedClock) -> Path:
    """A SQLite store with rows in every table."""
    path = tmp_path / "moongate.db"
    store = SqliteStore(path, clock=clock)
    await fill(store)
    await store.close()
    return path


@contextlib.contextmanager
def closed_at_end(*sides: Side) -> Iterator[None]:
    try:
        yield
    finally:
        for side in sides:
            side.close()


def copy_to_server(file: Path, url: str, told: list[str] | None = None) -> list[CopiedTable]:
    source = SqliteSide.open_source(file)
    with closed_at_end(source):
        target = PostgresSide.open_target(url, wall_clock)
        with closed_at_end(target):
            return copying.copy_store(
                source, target, read_tables(source.apsw), [].append if told is None else told.append
            )


def copy_to_file(url: str, file: Path, told: list[str] | None = None) -> list[CopiedTable]:
    source = PostgresSide.open_source(url)
    with closed_at_end(source):
        target = SqliteSide.open_target(file, wall_clock)
        with closed_at_end(target):
            return copying.copy_store(
                source, target, read_tables(target.apsw), [].append if told is None else told.append
            )


async def find(store: Store, words: str) -> list[tuple[int, str]]:
    """Return the messages with these words, and their excerpts, which SQLite cuts at the character U+0000."""
    hits = await store.sessions.search(SearchQuery(terms=search.parse_terms(words)), PAGE)
    return [(hit.position, hit.snippet.partition("\0")[0]) for hit in hits]


# --- the rows ---------------------------------------------------------------------------------


def test_every_table_of_one_store_is_in_the_other_with_the_same_columns(file: Path, url: str) -> None:
    with contextlib.closing(SqliteSide.open_source(file)) as side:
        ours = {table.name: set(table.column_names) for table in read_tables(side.apsw)}
    with contextlib.closing(PostgresSide.open_source(url)) as other:
        rows = other.connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        ).fetchall()

    theirs: dict[str, set[str]] = {}
    for table, column in rows:
        if table in ours and column not in OWN_COLUMNS.get(table, ()):
            theirs.setdefault(table, set()).add(column)
    assert ours == theirs


def test_rows_are_the_same_there_and_back(file: Path, url: str, tmp_path: Path) -> None:
    before = read_sqlite(file)
    assert [name for name, rows in before.items() if not rows] == []

    there = copy_to_server(file, url)
    on_server = read_postgres(url, file)
    back = copy_to_file(url, tmp_path / "back.db")

    assert on_server == before
    assert read_sqlite(tmp_path / "back.db") == before
    assert there == back
    assert {table.name: table.rows for table in there} == {name: len(rows) for name, rows in before.items()}


def test_the_owner_of_the_database_needs_no_rights_of_an_administrator(file: Path, tmp_path: Path) -> None:
    server = postgres.shared_server()
    server.execute("CREATE ROLE plain LOGIN")
    server.execute("CREATE DATABASE plain OWNER plain TEMPLATE template0")
    url = server.url("plain").replace("moongate@", "plain@")

    copy_to_server(file, url)
    copy_to_file(url, tmp_path / "back.db")

    assert read_sqlite(tmp_path / "back.db") == read_sqlite(file)


def test_the_source_is_not_changed(file: Path, url: str, tmp_path: Path) -> None:
    before = file.read_bytes()
    copy_to_server(file, url)
    rows = read_postgres(url, file)
    copy_to_file(url, tmp_path / "back.db")

    assert file.read_bytes() == before
    assert read_postgres(url, file) == rows


def test_a_checksum_tells_values_apart_and_no_order() -> None:
    sums = []
    for rows in ([(1, "a"), (2, None)], [(2, None), (1, "a")], [(1, "a"), (2, "")], [(1, "a"), (1, "a"), (2, None)]):
        total = copying.TableSum()
        total.add_rows(rows)
        sums.append(total.checksum)

    assert sums[0] == sums[1]
    assert len(set(sums)) == 3


# --- what goes on in the copy -----------------------------------------------------------------


async def work_on(store: Store) -> list[object]:
    """Use a store, and return what does not depend on anything else than its rows."""
    accepted = (await store.runs.accept(spec("main:test:new", "one more fox"))).run
    later = await store.schedules.create(made("later"))
    uses = [stored.uses for stored in await store.files.list(PAGE)]
    await store.schedules.delete("nightly")
    freed = [stored.uses for stored in await store.files.list(PAGE)]
    await store.files.delete((await store.files.list(PAGE))[0].file.id)
    await store.generations.add(generation(9))
    return [
        accepted.seq,
        later.seq,
        await store.events.last_change(),
        uses,
        freed,
        await store.files.count_bytes(),
        (await store.projects.get("garden")).counts,
        [(one.owner, one.generation) for one in await store.generations.list(10)],
        [await find(store, words) for words in ("fox", "猫", "喜欢", "cafe", '"the answer"', "x41", "answ*", "none")],
    ]


async def test_the_copy_numbers_counts_and_finds_as_the_original(
    file: Path, url: str, tmp_path: Path, clock: SteppedClock
) -> None:
    copy_to_server(file, url)
    copy_to_file(url, tmp_path / "back.db")
    outcomes = []
    for opened in (
        SqliteStore(file, clock=clock),
        PostgresStore(url, clock=clock),
        SqliteStore(tmp_path / "back.db", clock=clock),
    ):
        outcomes.append(await work_on(opened))
        await opened.close()

    original, *copies = outcomes
    assert copies == [original, original]
    assert all(hits for hits in original[-1][:6])  # type: ignore[index]


# --- refusals ---------------------------------------------------------------------------------


async def test_a_store_in_use_is_not_copied_and_one_that_is_copied_is_not_opened(
    file: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = PostgresStore(url)
    with monkeypatch.context() as impatient:
        impatient.setattr(opening, "MAX_USE_LOCK_WAIT_SECONDS", 0)
        with pytest.raises(AlreadyRunning, match="uses the database"):
            copy_to_server(file, url)
        with pytest.raises(AlreadyRunning, match="uses the database"):
            copy_to_file(url, tmp_path / "back.db")
    await serving.close()

    with contextlib.closing(PostgresSide.open_source(url)):
        monkeypatch.setattr(opening, "MAX_USE_LOCK_WAIT_SECONDS", 0)
        with pytest.raises(Unavailable, match="gateway migrate, or an upgrade, works on"):
            PostgresStore(url)


async def test_a_store_with_other_rows_is_left_as_it_is(file: Path, url: str, tmp_path: Path) -> None:
    foreign = PostgresStore(url)
    await foreign.runs.accept(spec(text="not ours"))
    await foreign.close()
    before = read_postgres(url, file)

    with pytest.raises(Conflict, match="rows that are not a copy"):
        copy_to_server(file, url)
    assert read_postgres(url, file) == before
    with pytest.raises(Conflict, match="rows that are not a copy"):
        copy_to_file(url, file)


async def test_a_repeated_copy_is_compared_and_one_that_has_gone_on_is_refused(file: Path, url: str) -> None:
    first = copy_to_server(file, url)
    assert copy_to_server(file, url) == first

    goes_on = PostgresStore(url)
    await goes_on.notes.save("channel", {"chat:1": "b"})
    await goes_on.close()
    with pytest.raises(Conflict):
        copy_to_server(file, url)


def test_a_database_of_another_program_is_refused(url: str, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with contextlib.closing(apsw.Connection(str(foreign))) as made_by_others:
        made_by_others.execute("CREATE TABLE runs (seq INTEGER)")

    with pytest.raises(ConfigError, match="belongs to another program"):
        copy_to_file(url, foreign)
    with pytest.raises(ConfigError, match="belongs to another program"):
        copy_to_server(foreign, url)


def test_an_empty_server_is_no_source(tmp_path: Path) -> None:
    server = postgres.shared_server()
    url = server.create_database(postgres.create_database() + "_empty")

    with pytest.raises(ConfigError, match="no store with the schema"):
        copy_to_file(url, tmp_path / "back.db")
    assert not (tmp_path / "back.db").exists()


def test_a_row_that_is_not_text_is_named(file: Path, url: str) -> None:
    with contextlib.closing(apsw.Connection(str(file))) as damaging:
        damaging.execute("UPDATE notes SET value = CAST(x'ff' AS TEXT) WHERE name = 'chat:1'")

    with pytest.raises(Unreadable, match=r"the table notes has text that is not UTF-8"):
        copy_to_server(file, url)


# --- copies that are interrupted --------------------------------------------------------------


class Broken(Exception):
    """Ends a copy in the middle."""


def break_at(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    """End the next copy in the middle of a table."""
    write = mark.write_position

    def write_or_break(connection: Connection, name: str, last: Sequence[object] | None) -> None:
        if name == table and last is None:
            raise Broken
        write(connection, name, last)

    monkeypatch.setattr(mark, "write_position", write_or_break)


async def test_an_unfinished_copy_is_not_served(
    file: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_to_server(file, url)
    half = postgres.shared_server().url(postgres.create_database())
    break_at(monkeypatch, "events")
    with pytest.raises(Broken):
        copy_to_server(file, half)
    with pytest.raises(Broken):
        copy_to_file(url, tmp_path / "half.db")

    for open_half in (
        lambda: PostgresStore(half),
        lambda: SqliteStore(tmp_path / "half.db"),
        lambda: opening.check_server(half),
        lambda: PostgresSide.open_source(half),
        lambda: SqliteSide.open_source(tmp_path / "half.db"),
    ):
        with pytest.raises(ConfigError, match="not finished"):
            open_half()


async def test_an_unfinished_copy_of_another_store_is_left_as_it_is(
    file: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_at(patch, "events")
        with pytest.raises(Broken):
            copy_to_server(file, url)
    await SqliteStore(tmp_path / "other.db").close()

    with pytest.raises(Conflict, match=f"not finished: {file}"):
        copy_to_server(tmp_path / "other.db", url)
    copy_to_server(file, url)


async def test_a_copy_begins_again_when_the_store_has_changed(
    file: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_at(patch, "events")
        with pytest.raises(Broken):
            copy_to_server(file, url)
    changed = SqliteStore(file)
    await changed.runs.accept(spec(text="later"))
    await changed.close()
    told: list[str] = []

    copy_to_server(file, url, told)

    assert "the store has changed since the earlier copy: beginning again" in told
    assert read_postgres(url, file) == read_sqlite(file)


def test_a_copy_that_differs_is_not_served_and_made_again(
    file: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = PostgresSide.insert_rows

    def insert_less(side: PostgresSide, table: Table, rows: Sequence[Row]) -> None:
        insert(side, table, rows[1:] if table.name == "labels" else rows)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresSide, "insert_rows", insert_less)
        with pytest.raises(InternalError, match=r"differs from the database .* in labels"):
            copy_to_server(file, url)
    with pytest.raises(ConfigError, match="not finished"):
        PostgresStore(url)

    copy_to_server(file, url)
    assert read_postgres(url, file) == read_sqlite(file)
