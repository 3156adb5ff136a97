"""A process that is stopped within a transaction keeps the others waiting for a moment only, and does no harm later."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from gateway.errors import Unavailable
from gateway.store.postgres import opening
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sql.transaction import Transaction
from harness.waiting import PATIENCE, until
from tests.store.postgres.servers import add_fact, open_database, read_facts

#: begins a write, tells that it has the lock, and goes on when it is told to
WRITER = """
import asyncio, sys
from gateway.domain.budget import CalendarDays
from gateway.store.postgres import opening
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sql.transaction import StoreLimits

opening.IDLE_TRANSACTION_SECONDS = float(sys.argv[2])

def write(tx):
    tx.execute("INSERT INTO facts (name) VALUES ('stopped')")
    if not begun:
        begun.append(True)
        print("begun", flush=True)
        sys.stdin.readline()

async def main():
    database = PostgresDatabase(sys.argv[1], None, CalendarDays(), StoreLimits(1, 1))
    try:
        await database.write(write)
        print("written", flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
    await database.close()

begun = []
asyncio.run(main())
"""


@pytest.fixture
def stopped_writer(url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITER, url, "0.5"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.communicate(timeout=PATIENCE)


async def test_the_lock_is_free_after_a_moment(
    stopped_writer: subprocess.Popen[str], database: PostgresDatabase, url: str
) -> None:
    await database.write(lambda tx: add_fact(tx, "a"))

    assert read_facts(url) == {"a"}


async def test_what_the_stopped_writer_does_later_is_true(
    stopped_writer: subprocess.Popen[str], database: PostgresDatabase, url: str
) -> None:
    await database.write(lambda tx: add_fact(tx, "a"))

    stopped_writer.send_signal(signal.SIGCONT)
    said, _ = stopped_writer.communicate("go on\n", timeout=PATIENCE)

    assert read_facts(url) == ({"a", "stopped"} if said == "written\n" else {"a"}), said


async def test_a_writer_that_keeps_the_lock_makes_the_others_unavailable(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        begun.set()
        assert ended.wait(PATIENCE)

    async with open_database(url) as holder:
        monkeypatch.setattr(opening, "WRITE_LOCK_TIMEOUT_SECONDS", 0.2)
        async with open_database(url) as waiting:
            holding = asyncio.create_task(holder.write(hold))
            await until(begun.is_set, "the lock is taken")

            with pytest.raises(Unavailable, match="other members keep"):
                await waiting.write(lambda tx: add_fact(tx, "a"))

            ended.set()
            await holding
            await waiting.write(lambda tx: add_fact(tx, "b"))
    assert read_facts(url) == {"b"}
