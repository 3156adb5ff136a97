"""`gateway migrate`."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.store.sqlite.store import SqliteStore
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.postgres_server import PostgresServer
from harness.waiting import PATIENCE, until_sync
from tests.store.moving.filled import fill, read_postgres, read_sqlite
from tests.store.moving.many_runs import make_store
from tests.store.postgres.servers import make_address, make_strict, own_server, url_of
from tests.support import postgres
from tests.support.thorough import leave_out_on_push

#: runs a command of the CLI that is killed at some step of a copy; its transactions have few rows
KILLED = """
import os, signal, sys
from cli import main
from gateway.store.moving import copying, mark
from gateway.store.moving.postgres_side import PostgresSide
from gateway.store.moving.sqlite_side import SqliteSide

left = int(sys.argv[1])
copying.MAX_COPIED_ROWS = 15

def count(place, name):
    inner = getattr(place, name)
    def counted(*given, **named):
        global left
        result = inner(*given, **named)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(place, name, counted)

for side in (PostgresSide, SqliteSide):
    count(side, "clear_tables")
    count(side, "insert_rows")
    count(side, "end_inserting")
for name in ("create_mark", "write_position", "remove_mark"):
    count(mark, name)
raise SystemExit(main.main(sys.argv[2:]))
"""
#: steps after which each try is killed: any number that is no multiple of the steps of a table
STEPS_OF_A_TRY = 11
#: bytes by which forty times as many runs may need more memory: a few batches
MAX_MORE_MEMORY_BYTES = 16 << 20


@pytest.fixture
def url() -> str:
    """An empty database of PostgreSQL."""
    return postgres.shared_server().url(postgres.create_database())


@pytest.fixture(scope="module")
def strict_server() -> Iterator[PostgresServer]:
    """A server that asks for a password."""
    with own_server(**make_address()) as server:
        make_strict(server)
        yield server


@pytest.fixture
def stopped(alone: tuple[Live, Shell]) -> tuple[Path, Shell]:
    """The filled SQLite store of a gateway that does not run, and a shell for it."""
    live, shell = alone
    file = live.home / "data" / "moongate.db"

    async def make() -> None:
        store = SqliteStore(file)
        await fill(store)
        await store.close()

    asyncio.run(make())
    return file, shell


def test_a_store_moves_to_a_server_and_back_and_the_settings_stay(stopped: tuple[Path, Shell], url: str) -> None:
    file, shell = stopped
    before, settings = read_sqlite(file), (file.parent.parent / "config.json").read_bytes()

    there = shell("migrate", "--to", url)
    assert there.code == 0, there
    assert "both are the same" in there.out
    assert "set store.url to" in there.err
    assert read_postgres(url, file) == before

    back = file.with_name("back.db")
    told = shell("migrate", "--to", str(back), "--json", env={"MOONGATE_STORE_URL": url})
    assert told.code == 0, told
    assert "unset store.url" in told.err
    assert {table["name"]: table["rows"] for table in told.json["tables"]} == {
        name: len(rows) for name, rows in before.items()
    }
    assert all(table["checksum"] in there.out for table in told.json["tables"])
    assert read_sqlite(back) == before
    assert (file.parent.parent / "config.json").read_bytes() == settings


def test_the_word_sqlite_means_the_file_of_the_settings(stopped: tuple[Path, Shell], url: str) -> None:
    file, shell = stopped
    before = read_sqlite(file)
    assert shell("migrate", "--to", url).code == 0
    server = {"MOONGATE_STORE_URL": url}

    file.rename(file.with_name("old.db"))
    assert shell("migrate", "--to", "sqlite", env=server).code == 0

    assert read_sqlite(file) == before


def test_a_store_is_not_copied_to_its_own_kind_or_to_another_system(stopped: tuple[Path, Shell], url: str) -> None:
    _, shell = stopped
    for to, env, said in (
        ("sqlite", {}, "is a SQLite file already"),
        (url, {"MOONGATE_STORE_URL": url}, "is in PostgreSQL already"),
        ("mysql://localhost/x", {}, "--to: this is not the URL of a PostgreSQL database. Write postgresql://"),
        ("postgresql:/localhost/x", {}, "--to: this is not the URL of a PostgreSQL database. Write postgresql://"),
    ):
        refused = shell("migrate", "--to", to, env=env)
        assert (refused.code, said in refused.err) == (2, True), refused


def test_a_target_that_cannot_be_used_is_told_with_the_name_of_the_option(
    stopped: tuple[Path, Shell], strict_server: PostgresServer, free_port: int
) -> None:
    _, shell = stopped
    for to, code, said in (
        (f"postgresql://u@127.0.0.1:{free_port}/gate", 75, "Start the server, or correct --to."),
        (url_of(strict_server, "clerk", "wrong-horse"), 78, "does not accept the password"),
        (url_of(strict_server, "clerk", "wrong-horse"), 78, "Correct it in --to, or in the file that"),
        ("postgresql://u@127.0.0.1:port/gate", 78, "--to: the port is no number from 1 to 65535."),
    ):
        refused = shell("migrate", "--to", to)

        assert (refused.code, said in refused.err) == (code, True), refused
        assert "store.url" not in refused.err
        assert "wrong-horse" not in refused.err


def test_a_source_that_cannot_be_used_is_told_with_the_name_of_its_variable(
    stopped: tuple[Path, Shell], strict_server: PostgresServer
) -> None:
    env = {"MOONGATE_STORE_URL": url_of(strict_server, "clerk", "wrong-horse")}

    refused = stopped[1]("migrate", "--to", "sqlite", env=env)

    assert refused.code == 78
    assert refused.err.startswith("MOONGATE_STORE_URL: store.url: ")


def test_without_a_file_there_is_nothing_to_copy(alone: tuple[Live, Shell], url: str) -> None:
    refused = alone[1]("migrate", "--to", url)

    assert refused.code == 78
    assert "there is no database" in refused.err
    assert refused.err.endswith("Nothing to copy: set store.url, then: gateway start\n")


def test_a_gateway_that_runs_is_named_and_no_row_is_copied(alone: tuple[Live, Shell], url: str) -> None:
    live, shell = alone
    live.start()

    refused = shell("migrate", "--to", url, "--json")

    assert refused.code == 75
    assert refused.json["error"]["code"] == "ALREADY_RUNNING"
    assert f"pid {live.record.pid}" in refused.err  # type: ignore[union-attr]
    assert "gateway stop" in refused.err


def test_a_gateway_on_the_server_is_noticed_from_another_machine(
    live: Callable[..., Live], tmp_path: Path, stopped: tuple[Path, Shell], url: str
) -> None:
    _, shell = stopped
    elsewhere = live("elsewhere", env={"MOONGATE_STORE_URL": url})
    elsewhere.start()

    for to, env in ((url, {}), (str(tmp_path / "back.db"), {"MOONGATE_STORE_URL": url})):
        refused = shell("migrate", "--to", to, env=env)
        assert (refused.code, "uses the database" in refused.err) == (75, True), refused


def test_a_copy_that_is_killed_again_and_again_goes_on_to_its_end(stopped: tuple[Path, Shell], url: str) -> None:
    file, shell = stopped
    back = file.with_name("back.db")
    before = read_sqlite(file)

    for to, env in ((url, shell.env), (str(back), {**shell.env, "MOONGATE_STORE_URL": url})):
        for tries in itertools.count(1):
            command = [sys.executable, "-c", KILLED, str(STEPS_OF_A_TRY), "migrate", "--to", to]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
            if done.returncode != -signal.SIGKILL:
                break
            if to == url and tries == 3:
                refused = shell("run", env={"MOONGATE_STORE_URL": url})
                assert (refused.code, "not finished" in refused.err) == (78, True), refused
        assert done.returncode == 0, done
        assert tries > 5

    assert read_postgres(url, file) == before
    assert read_sqlite(back) == before


@leave_out_on_push
@pytest.mark.slow
def test_many_runs_need_no_more_memory_than_few(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    (live.home / "data").mkdir()
    peaks = []
    for runs in (1_000, 15_000):
        url = postgres.shared_server().url(postgres.create_database())
        file, back = live.home / "data" / "moongate.db", live.home / f"{runs}.db"
        make_store(file, runs)
        peaks += [
            _measure_memory(shell, "migrate", "--to", url),
            _measure_memory(shell, "migrate", "--to", str(back), "--config", str(_write_url(live.home, url))),
        ]
        assert read_sqlite(back)["tally"] == [("succeeded", runs)]
        file.unlink()

    few, many = peaks[:2], peaks[2:]
    assert max(many) < max(few) + MAX_MORE_MEMORY_BYTES, peaks


def _write_url(home: Path, url: str) -> Path:
    config = home / "server.json"
    config.write_text(json.dumps({"store": {"url": url}}))
    return config


def _measure_memory(shell: Shell, *words: str) -> int:
    """Run a command, and return the bytes that it needed at most."""
    command = shell.start(*words, stdout=subprocess.DEVNULL, stderr=None)
    _, status, used = os.wait4(command.pid, 0)
    command.returncode = os.waitstatus_to_exitcode(status)
    assert command.returncode == 0
    return used.ru_maxrss * 1024


def test_ctrl_c_leaves_a_copy_that_can_go_on(stopped: tuple[Path, Shell], url: str) -> None:
    file, shell = stopped
    with psycopg.connect(url) as blocking:
        blocking.execute("LOCK moongate.generations IN ACCESS EXCLUSIVE MODE")
        copying = shell.start("migrate", "--to", url)
        until_sync(lambda: _is_waiting(url), "the copy waits")
        copying.send_signal(signal.SIGINT)
        _, err = copying.communicate(timeout=PATIENCE)

    assert copying.returncode == 130
    assert "Run the same command again" in err
    assert shell("migrate", "--to", url).code == 0
    assert read_postgres(url, file) == read_sqlite(file)


def _is_waiting(url: str) -> bool:
    with psycopg.connect(url) as asking:
        found = asking.execute(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return found.fetchone() is not None


def test_progress_is_shown_on_a_terminal(stopped: tuple[Path, Shell], url: str) -> None:
    _, shell = stopped
    with shell.terminal("migrate", "--to", url) as terminal:
        assert terminal.end() == 0
        assert "both are the same" in terminal.shown
        assert " rows" in terminal.shown
