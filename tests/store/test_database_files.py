"""A file of the database that is removed or replaced under a running gateway is noticed with the next write."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import Unavailable
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import ALL, PAGE, spec


def remove(file: Path) -> None:
    file.unlink()


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    other.rename(file)


def move_away(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))


@pytest.mark.parametrize("change", [remove, replace, move_away])
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("age", [0, 10], ids=["new", "settled"])
async def test_nothing_is_accepted_after_a_file_is_gone(
    tmp_path: Path, suffix: str, change: Callable[[Path], None], age: int
) -> None:
    store = SqliteStore(tmp_path / "moongate.db")
    os.utime(tmp_path, (time.time() - age, time.time() - age))
    await store.runs.accept(spec())
    await store.runs.accept(spec())
    change(tmp_path / f"moongate.db{suffix}")

    refused = await asyncio.gather(*(store.runs.accept(spec()) for _ in range(3)), return_exceptions=True)
    for error in refused:
        assert isinstance(error, Unavailable)
        assert f"moongate.db{suffix} was removed or replaced" in error.message
    with pytest.raises(Unavailable, match="would be lost"):
        await store.check_writable()
    await store.close()


async def test_a_file_that_is_gone_within_the_same_tick_of_its_directory_is_noticed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "moongate.db")
    await store.runs.accept(spec())
    same = tmp_path.stat().st_mtime_ns
    (tmp_path / "moongate.db-wal").unlink()
    os.utime(tmp_path, ns=(same, same))

    with pytest.raises(Unavailable, match="was removed or replaced"):
        await store.runs.accept(spec())
    await store.close()


async def test_a_directory_that_is_moved_away_is_noticed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    store = SqliteStore(data / "moongate.db")
    os.utime(data, (time.time() - 10, time.time() - 10))
    await store.runs.accept(spec())
    await store.runs.accept(spec())
    data.rename(tmp_path / "moved")

    with pytest.raises(Unavailable, match="was removed or replaced"):
        await store.runs.accept(spec())
    await store.close()


async def test_what_was_accepted_before_the_log_was_removed_is_found_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "moongate.db")
    accepted = [(await store.runs.accept(spec())).run.id for _ in range(3)]
    (tmp_path / "moongate.db-wal").unlink()
    with pytest.raises(Unavailable, match="gateway restart"):
        await store.runs.accept(spec())

    # the next generation opens the database while this one still has it open
    after = SqliteStore(tmp_path / "moongate.db")
    found = [run.id for run in await after.runs.list(ALL, PAGE)]
    later = (await after.runs.accept(spec())).run.id
    await store.close()
    await after.close()
    last = SqliteStore(tmp_path / "moongate.db")
    kept = [run.id for run in await last.runs.list(ALL, PAGE)]
    await last.close()

    assert found == accepted[::-1]
    assert kept == [later, *accepted[::-1]]


async def test_a_restart_and_a_second_process_are_no_loss(tmp_path: Path) -> None:
    ours, theirs = SqliteStore(tmp_path / "moongate.db"), SqliteStore(tmp_path / "moongate.db")
    await ours.runs.accept(spec())
    await theirs.runs.accept(spec())
    await ours.close()
    await theirs.runs.accept(spec())

    assert len(await theirs.runs.list(ALL, PAGE)) == 3
    await theirs.close()
