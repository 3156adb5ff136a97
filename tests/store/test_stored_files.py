"""Files in SQLite: what is deleted from the disk, what a damaged row does, and databases of before there were files."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import apsw
import pytest

from gateway.domain.unreadable import RowKind
from gateway.errors import Unreadable
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore
from harness.waiting import PATIENCE
from tests.contracts.stores import PAGE, spec
from tests.contracts.test_store_files import staged_file
from tests.store.test_search_migration import made_before


async def test_a_content_is_removed_only_when_the_deletion_of_its_file_is_on_disk(
    store: SqliteStore, tmp_path: Path
) -> None:
    """In one transaction, a commit that fails would leave a file without its content."""
    stored = await store.files.add(staged_file())
    go_on = threading.Event()
    on_disk: list[int] = []

    def remove(sha256: str) -> None:
        other = apsw.Connection(str(tmp_path / "moongate.db"), flags=apsw.SQLITE_OPEN_READONLY)
        on_disk.append(int(other.execute("SELECT count(*) FROM files").get))  # type: ignore[arg-type]
        other.close()

    blocking = asyncio.ensure_future(store._database.write(lambda tx: go_on.wait(PATIENCE)))
    deleting = asyncio.ensure_future(store.files.delete(stored.id))
    removing = asyncio.ensure_future(store.files.remove_unowned([stored.sha256], remove))
    await asyncio.sleep(0)  # all three are in the writer's queue
    go_on.set()
    await asyncio.gather(blocking, deleting, removing)

    assert on_disk == [0]


async def test_a_file_whose_row_cannot_be_read_is_set_aside_and_hides_no_other(
    store: SqliteStore, tmp_path: Path
) -> None:
    bad, good = await store.files.add(staged_file(b"1")), await store.files.add(staged_file(b"2"))
    other = apsw.Connection(str(tmp_path / "moongate.db"))
    other.set_busy_timeout(5000)
    other.execute("UPDATE files SET name = CAST(x'ff' AS TEXT) WHERE id = ?", (bad.id,))
    other.close()

    assert [one.file for one in await store.files.list(PAGE)] == [good]
    with pytest.raises(Unreadable):
        await store.files.get(bad.id)
    assert [(row.kind, row.id) for row in await store.unreadable.list()] == [(RowKind.FILE, bad.id)]


async def test_a_file_that_cannot_be_read_can_be_removed_with_what_refers_to_it_and_its_content_is_nobodys(
    store: SqliteStore, tmp_path: Path
) -> None:
    unused, used = staged_file(b"unused"), staged_file(b"used")
    await store.files.add(unused)
    await store.runs.accept(spec(attachments=(used.file,)), staged=[used])
    other = apsw.Connection(str(tmp_path / "moongate.db"))
    other.set_busy_timeout(5000)
    other.execute("UPDATE files SET name = CAST(x'ff' AS TEXT)")
    other.close()
    assert await store.files.list(PAGE) == []

    for one in (unused, used):
        await store.unreadable.remove(RowKind.FILE, one.file.id)

    hashes = [unused.file.sha256, used.file.sha256]
    assert await store.files.find_unowned(hashes) == hashes
    assert await store.files.count_bytes() == 0


async def test_the_uses_and_the_total_are_right_after_a_batch_that_was_rolled_back(store: SqliteStore) -> None:
    def fail(tx: object) -> None:
        tx.execute("INSERT INTO notes (scope, name, value) VALUES ('s', 'n', 'v')")  # type: ignore[attr-defined]
        raise RuntimeError("this operation fails after it has written")

    staged = staged_file(b"123")
    accepting = store.runs.accept(spec(attachments=(staged.file,)), staged=[staged])
    failing = store._database.write(fail)
    answers = await asyncio.gather(accepting, failing, store.runs.accept(spec()), return_exceptions=True)

    assert [isinstance(answer, BaseException) for answer in answers] == [False, True, False]
    assert (await store.files.get(staged.file.id)).uses == 1
    assert await store.files.count_bytes() == 3


async def test_a_database_from_before_files_keeps_its_runs_messages_and_schedules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "moongate.db"
    await made_before("_files", path, monkeypatch)
    connection = apsw.Connection(str(path))
    opening.add_functions(connection)
    connection.execute(
        "INSERT INTO sessions (key, agent, channel, chat, touched, after_run, created, updated)"
        " VALUES ('main:x:a', 'main', 'x', 'a', 1, 0, 5, 5)"
    )
    connection.execute(
        "INSERT INTO schedules (id, spec, enabled, anchor, next_at, created, updated)"
        """ VALUES ('old', '{"expression":"every 1m","input":"wake"}', 1, 5, 9, 5, 5)"""
    )
    connection.execute(
        "INSERT INTO runs (session, ready, id, agent, source, spec, status, priority, last_event, created)"
        """ VALUES ('main:x:a', 1, 'old', 'main', 'task',"""
        """ '{"source":"task","agent":"main","session":"main:x:a","input":"hi"}', 'queued', 0, 1, 5)"""
    )
    connection.execute(
        "INSERT INTO transcript (session, n, run, role, content, at) VALUES ('main:x:a', 1, 'older', 'user', 'hi', 5)"
    )
    connection.close()

    store = SqliteStore(path)
    run = await store.runs.get("old")
    (message,) = await store.sessions.read_history("main:x:a", 10)
    schedule = await store.schedules.get("old")
    staged = staged_file()
    await store.files.add(staged)
    await store.close()

    assert (run.spec.input, run.spec.attachments, run.files) == ("hi", (), ())
    assert (message.content, message.files, schedule.spec.attachments) == ("hi", (), ())


async def test_a_generation_from_before_files_writes_to_the_same_database_during_a_restart(
    store: SqliteStore, tmp_path: Path
) -> None:
    """It names the columns that it knows, and leaves the others out."""
    run = (await store.runs.accept(spec())).run
    old = apsw.Connection(str(tmp_path / "moongate.db"))
    opening.add_functions(old)
    old.set_busy_timeout(5000)
    old.execute("UPDATE runs SET result = 'of the old one', status = 'succeeded', finished = 9 WHERE id = ?", (run.id,))
    old.execute(
        "INSERT INTO transcript (session, n, run, role, content, at, refused) VALUES (?, 1, ?, 'user', 'hello', 5, 0)",
        (run.spec.session, run.id),
    )
    old.close()

    assert (await store.runs.get(run.id)).files == ()
    assert [one.files for one in await store.sessions.read_history(run.spec.session, 10)] == [()]
