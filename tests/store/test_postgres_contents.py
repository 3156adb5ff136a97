"""Contents in PostgreSQL: they come to each machine of a fleet, and its copies may be damaged, removed and too many."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.domain.file import FileLimits
from gateway.engine.resources.files import Files
from gateway.errors import Unavailable
from gateway.store.file_directory import FileDirectory
from gateway.store.postgres import contents as postgres_contents
from gateway.store.postgres.content_cache import CACHE_GRACE_SECONDS, CACHE_USE_SECONDS, ContentCache
from gateway.store.postgres.contents import CONTENT_PIECE_BYTES, PIECES_PER_FETCH, PostgresContents
from gateway.store.postgres.store import PostgresStore
from harness.waiting import PATIENCE, until_sync
from tests.contracts.contents import list_drafts, list_hashes
from tests.contracts.stores import SteppedClock, spec
from tests.support import postgres

CONTENT = b"some content"
HASH = hashlib.sha256(CONTENT).hexdigest()
#: more pieces than are fetched at once, and a part of one
LARGE = bytes(range(256)) * (CONTENT_PIECE_BYTES // 256) * (PIECES_PER_FETCH + 1) + b"and the rest"


class Fleet:
    """One database, and machines with directories of their own."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.database = postgres.create_database()
        self.url = postgres.shared_server().url(self.database)
        self._directory = directory
        self._stack = stack

    def directory(self, machine: str) -> Path:
        return self._directory / machine

    def open(self, machine: str, *, max_bytes: int = 1_000_000_000) -> PostgresContents:
        return self._stack.enter_context(contextlib.closing(PostgresContents(self.url, self.cache(machine, max_bytes))))

    def cache(self, machine: str, max_bytes: int = 1_000_000_000) -> ContentCache:
        return ContentCache(FileDirectory(self.directory(machine) / "files", "me", lambda _: True), max_bytes)

    def copies(self, machine: str) -> list[Path]:
        return [path for path in (self.directory(machine) / "files").rglob("*") if path.is_file()]

    def query(self, statement: str) -> list[Any]:
        with contextlib.closing(psycopg.connect(self.url, autocommit=True)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def count_rows(self) -> list[int]:
        """Return how many contents, pieces of them, and holds there are."""
        tables = (
            "stored_contents",
            "content_pieces JOIN moongate.stored_contents s ON s.id = content",
            "content_holds",
        )
        return [self.query(f"SELECT count(*) FROM moongate.{table}")[0][0] for table in tables]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        yield Fleet(tmp_path, stack)


def receive(contents: PostgresContents, content: bytes = CONTENT) -> str:
    """Store a content, and return its SHA-256."""
    draft = contents.open_draft()
    try:
        return draft.finish(content)
    finally:
        draft.discard()


def age(path: Path, seconds: float) -> None:
    """Make a copy look as if it was last used that long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


async def read(contents: PostgresContents, sha256: str) -> bytes:
    return (await contents.fetch(sha256)).read_bytes()


# --- from one machine to another --------------------------------------------------------------


async def test_a_file_that_came_in_through_one_gateway_is_read_through_another(fleet: Fleet) -> None:
    stores = [PostgresStore(fleet.url) for _ in range(2)]
    first, second = (
        Files(store, fleet.open(machine), FileLimits(), SteppedClock())
        for store, machine in zip(stores, ("one", "two"), strict=True)
    )
    async with first.open_staging() as staging:
        await staging.add_bytes(LARGE, name="large.bin")
        stored = await first.store_upload(staging.staged[0])

    found = (await second.get_file(stored.id)).file

    assert await second.read_content(found) == LARGE
    assert fleet.count_rows() == [1, PIECES_PER_FETCH + 2, 0]
    await second.delete_file(stored.id)
    assert fleet.count_rows() == [0, 0, 0]
    for store in stores:
        await store.close()


async def test_a_content_is_fetched_in_pieces_once_for_all_who_want_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = receive(fleet.open("one"), LARGE)
    fetched = []
    read_pieces = postgres_contents._read_pieces

    def record(connection: psycopg.Connection[Any], content: int, start: int) -> list[bytes]:
        found = read_pieces(connection, content, start)
        fetched.append(sum(map(len, found)))
        return found

    monkeypatch.setattr(postgres_contents, "_read_pieces", record)
    contents = fleet.open("two")
    paths = await asyncio.gather(*(contents.fetch(sha256) for _ in range(20)))

    assert {path.read_bytes() for path in paths} == {LARGE}
    assert fetched == [PIECES_PER_FETCH * CONTENT_PIECE_BYTES, len(LARGE) - PIECES_PER_FETCH * CONTENT_PIECE_BYTES]
    assert list_drafts(fleet.directory("two")) == []


async def test_who_does_not_wait_any_more_stops_nobody_else(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    receive(fleet.open("one"))
    reads, go_on = threading.Event(), threading.Event()
    find_content = postgres_contents._find_content

    def slowly(connection: psycopg.Connection[Any], sha256: str) -> object:
        reads.set()
        go_on.wait(PATIENCE)
        return find_content(connection, sha256)

    contents = fleet.open("two")
    monkeypatch.setattr(postgres_contents, "_find_content", slowly)
    impatient = asyncio.create_task(contents.fetch(HASH))
    patient = asyncio.create_task(read(contents, HASH))
    assert await asyncio.to_thread(reads.wait, PATIENCE)
    impatient.cancel()
    go_on.set()

    assert await patient == CONTENT
    with pytest.raises(asyncio.CancelledError):
        await impatient


# --- what is lost or damaged ------------------------------------------------------------------


@pytest.mark.parametrize("harm", [b"other bytes", CONTENT[:-1], CONTENT + b"?", b""])
async def test_a_damaged_copy_is_fetched_again(fleet: Fleet, harm: bytes) -> None:
    contents = fleet.open("one")
    path = await contents.fetch(receive(contents))
    path.write_bytes(harm)

    assert await read(contents, HASH) == CONTENT
    path.write_bytes(harm)
    assert await read(fleet.open("one"), HASH) == CONTENT, "another process that has never seen the good one"


async def test_copies_may_be_removed_at_any_time(fleet: Fleet) -> None:
    contents = fleet.open("one")
    for _ in range(2):
        sha256 = receive(contents)
        for path in fleet.copies("one"):
            path.unlink()
        assert await read(contents, sha256) == CONTENT


async def test_a_content_that_is_damaged_in_the_database_is_told_as_gone(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = receive(fleet.open("one"), LARGE)
    harms = [
        "UPDATE moongate.content_pieces SET data = 'x' WHERE n = 1",
        "DELETE FROM moongate.content_pieces WHERE n = 1",
        "UPDATE moongate.content_pieces SET data = repeat('x', 300000)::bytea WHERE n = 0",
        "UPDATE moongate.stored_contents SET size = 1 << 60",
        "DELETE FROM moongate.content_pieces",
    ]
    contents = fleet.open("two")
    for harm in harms:
        fleet.query(harm)
        assert not (await contents.fetch(sha256)).exists(), harm
    assert capsys.readouterr().out.count("files.damaged") == len(harms)
    assert list_drafts(fleet.directory("two")) == []


async def test_a_server_that_does_not_answer_is_told_and_the_next_try_may_succeed(fleet: Fleet) -> None:
    contents = fleet.open("two")
    receive(fleet.open("one"))
    postgres.shared_server().execute(f'ALTER DATABASE "{fleet.database}" ALLOW_CONNECTIONS false')
    _end_connections(fleet)
    with pytest.raises(Unavailable, match="cannot be used"):
        await contents.fetch(HASH)
    with pytest.raises(Unavailable, match="cannot be used"):
        contents.open_draft().finish(b"new")
    postgres.shared_server().execute(f'ALTER DATABASE "{fleet.database}" ALLOW_CONNECTIONS true')

    assert await read(contents, HASH) == CONTENT
    assert list_hashes(contents) == [HASH]


def test_connections_that_the_server_has_closed_meanwhile_are_made_again(fleet: Fleet) -> None:
    contents = fleet.open("one")
    receive(contents)
    _end_connections(fleet)

    receive(contents, b"another one")

    assert len(list_hashes(contents)) == 2


def _end_connections(fleet: Fleet) -> None:
    ended = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{fleet.database}'"
    postgres.shared_server().execute(ended)


# --- uploads that break off -------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["_write_pieces", "_lock_content"])
def test_an_upload_that_is_cut_off_leaves_nothing_and_may_be_tried_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """The server ends its connection after the first pieces are written, as if the machine had lost its power."""
    whole = getattr(postgres_contents, cut)

    def cut_off(connection: psycopg.Connection[Any], *rest: Any) -> Any:
        done = whole(connection, *rest)
        fleet.query(f"SELECT pg_terminate_backend({connection.info.backend_pid}, 10000)")
        return done

    contents = fleet.open("one")
    draft = contents.open_draft()
    draft.write(LARGE)
    with monkeypatch.context() as patch:
        patch.setattr(postgres_contents, cut, cut_off)
        with pytest.raises(Unavailable):
            draft.finish()
    assert fleet.count_rows() == [0, 0, 0]
    draft.discard()

    receive(contents, LARGE)
    assert fleet.count_rows() == [1, PIECES_PER_FETCH + 2, 0]


def test_a_draft_that_is_discarded_while_it_is_uploaded_leaves_no_hold(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, go_on = threading.Event(), threading.Event()
    write_pieces = postgres_contents._write_pieces

    def slowly(*given: Any) -> None:
        begins.set()
        go_on.wait(PATIENCE)
        write_pieces(*given)

    contents = fleet.open("one")
    monkeypatch.setattr(postgres_contents, "_write_pieces", slowly)
    draft = contents.open_draft()
    uploading = threading.Thread(target=draft.finish, args=(CONTENT,))
    uploading.start()
    assert begins.wait(PATIENCE)
    discarding = threading.Thread(target=draft.discard)
    discarding.start()
    go_on.set()
    uploading.join(PATIENCE)
    discarding.join(PATIENCE)

    assert fleet.count_rows() == [1, 1, 0]
    contents.remove(HASH)
    assert fleet.count_rows() == [0, 0, 0]


# --- who removes, and who holds ---------------------------------------------------------------


async def test_a_content_that_is_on_its_way_on_one_machine_is_not_removed_by_another(fleet: Fleet) -> None:
    store = PostgresStore(fleet.url)
    one, two = (Files(store, fleet.open(machine), FileLimits(), SteppedClock()) for machine in ("one", "two"))
    async with one.open_staging() as kept:
        file = await kept.add_bytes(b"same")
        async with two.open_staging() as forgotten:
            await forgotten.add_bytes(b"same")
        assert fleet.count_rows() == [1, 1, 1]
        await store.runs.accept(spec(attachments=kept.files), staged=kept.staged)

    assert await two.read_content(file) == b"same"
    assert fleet.count_rows() == [1, 1, 0]
    await store.close()


def test_the_holds_of_a_process_that_has_ended_lapse_and_its_content_can_be_removed(fleet: Fleet) -> None:
    contents = fleet.open("one")
    contents.open_draft().finish(CONTENT)  # nobody will discard it
    contents.remove(HASH)
    assert fleet.count_rows() == [1, 1, 1]

    contents.remove_abandoned_drafts()
    contents.remove(HASH)
    assert fleet.count_rows() == [1, 1, 1]
    fleet.query("UPDATE moongate.content_holds SET until = now() - interval '1 second'")
    contents.remove_abandoned_drafts()
    contents.remove(HASH)

    assert fleet.count_rows() == [0, 0, 0]


async def test_a_draft_whose_hold_has_lapsed_is_uploaded_again_by_the_transaction_that_stores_it(fleet: Fleet) -> None:
    contents = fleet.open("one")
    draft = contents.open_draft()
    draft.finish(CONTENT)
    fleet.query("DELETE FROM moongate.content_holds")
    contents.remove(HASH)
    assert fleet.count_rows() == [0, 0, 0]

    draft.place()

    assert fleet.count_rows() == [1, 1, 1]
    draft.discard()
    assert await read(fleet.open("two"), HASH) == CONTENT
    assert fleet.count_rows() == [1, 1, 0]


async def test_nothing_that_was_acknowledged_is_lost_while_machines_store_and_remove_the_same(fleet: Fleet) -> None:
    store = PostgresStore(fleet.url)
    machines = [Files(store, fleet.open(str(number)), FileLimits(), SteppedClock()) for number in range(2)]
    same = [bytes([number]) * 1000 for number in range(3)]
    stored = []

    async def write(number: int) -> None:
        files = machines[number % 2]
        async with files.open_staging() as staging:
            await staging.add_bytes(same[number % 3])
            if number % 5:
                file = await files.store_upload(staging.staged[0])
                if number % 5 == 1:
                    await files.delete_file(file.id)
                else:
                    stored.append(file)

    await asyncio.gather(*(write(number) for number in range(90)))

    reader = Files(store, fleet.open("reader"), FileLimits(), SteppedClock())
    for file in stored:
        assert hashlib.sha256(await reader.read_content(file)).hexdigest() == file.sha256
    assert fleet.count_rows()[2] == 0
    await store.close()


def test_the_pieces_of_a_removed_content_go_a_little_later_and_no_others(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = fleet.open("one")
    receive(contents, LARGE)
    contents.remove(receive(contents, CONTENT + LARGE))
    receive(contents)
    monkeypatch.setattr(postgres_contents, "CONTENTS_SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(postgres_contents, "MAX_PIECES_DELETED_AT_ONCE", 2)
    fleet.open("two")

    whole = fleet.count_rows()[1]
    until_sync(lambda: fleet.query("SELECT count(*) FROM moongate.content_pieces")[0][0] == whole, "orphans go")

    assert fleet.count_rows() == [2, PIECES_PER_FETCH + 3, 0]


# --- the copies on a machine ------------------------------------------------------------------


async def test_a_machine_that_fetches_much_sweeps_by_itself(fleet: Fleet) -> None:
    hashes = [receive(fleet.open("one"), bytes([number]) * 1000) for number in range(3)]
    contents = fleet.open("two", max_bytes=1000)
    for sha256 in hashes[:2]:
        age(await contents.fetch(sha256), CACHE_GRACE_SECONDS + 60)
    newest = await contents.fetch(hashes[2])

    until_sync(lambda: fleet.copies("two") == [newest], "the old copies are removed")


async def test_a_sweep_waits_for_a_server_that_does_not_answer(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = fleet.cache("one")
    path = cache.locate(cache.open_draft().finish(CONTENT))
    age(path, CACHE_USE_SECONDS + 60)

    def refuse(*args: object, **named: object) -> None:
        raise Unavailable("the server is away.")

    monkeypatch.setattr(postgres_contents, "CONTENTS_SWEEP_SECONDS", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(postgres_contents, "_find_hashes", refuse)
        fleet.open("one")
        told: list[str] = []
        until_sync(lambda: "contents_sweep_waits" in _hear(told, capsys), "it is told")

    until_sync(lambda: not path.exists(), "it goes when the server answers")


def _hear(told: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return all that was printed since the beginning of a test that asks several times."""
    told.append(capsys.readouterr().out)
    return "".join(told)
