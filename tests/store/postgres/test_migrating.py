"""Several processes start at once on a new database, and one of them migrates it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

from gateway.domain.times import wall_clock
from gateway.errors import Unavailable
from gateway.store.postgres import opening
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE
from tests.support import postgres

PREPARE = "import sys; from gateway.store.postgres import opening; opening.prepare_database(sys.argv[1], lambda: 0)"


@pytest.fixture
def empty_url() -> str:
    server = postgres.shared_server()
    server.drop_database("empty")
    return server.create_database("empty")


def test_processes_that_start_together_migrate_once(empty_url: str) -> None:
    starting = [
        subprocess.Popen([sys.executable, "-c", PREPARE, empty_url], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]

    said = [process.communicate(timeout=PATIENCE)[1] for process in starting]

    assert [process.returncode for process in starting] == [0] * len(starting), said
    assert count_migrations(empty_url) == len(opening.read_migrations())


def test_a_migration_waits_for_another_one_and_then_says_so(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MIGRATION_LOCK_TIMEOUT_SECONDS", 0.1)
    with psycopg.connect(empty_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", (opening.LOCK_SPACE, opening.MIGRATION_LOCK))

        with pytest.raises(Unavailable, match="another member keeps the database empty"):
            opening.prepare_database(empty_url, wall_clock)

    opening.prepare_database(empty_url, wall_clock)


def test_a_migration_that_fails_changes_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opening.prepare_database(empty_url, wall_clock)
    known = opening.read_migrations()
    broken = opening.Migration(len(known) + 1, "broken.sql", "CREATE TABLE half (n bigint); SELECT * FROM nowhere")

    with monkeypatch.context() as patch:
        patch.setattr(opening, "read_migrations", lambda: [*known, broken])
        with pytest.raises(Exception, match="nowhere"):
            opening.prepare_database(empty_url, wall_clock)

    with contextlib.closing(psycopg.connect(empty_url)) as connection:
        assert connection.execute("SELECT to_regclass('moongate.half')").fetchone() == (None,)
    assert count_migrations(empty_url) == len(known)


def test_a_newer_version_waits_until_no_older_one_uses_the_store(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MAX_USE_LOCK_WAIT_SECONDS", 0.2)
    opening.prepare_database(empty_url, wall_clock)
    older = opening.read_migrations()
    newer = [*older, opening.Migration(len(older) + 1, "newer.sql", "CREATE TABLE further (n bigint)")]
    with psycopg.connect(empty_url, autocommit=True, options="-c search_path=moongate") as member:
        opening.share_use(member, "the database")
        assert not opening.needs_migration(empty_url)
        with monkeypatch.context() as patch:
            patch.setattr(opening, "read_migrations", lambda: newer)
            assert opening.needs_migration(empty_url)
            with pytest.raises(Unavailable, match=r"other members use it\. Stop them on each machine: gateway stop"):
                opening.prepare_database(empty_url, wall_clock)
        assert count_migrations(empty_url) == len(older)

    with monkeypatch.context() as patch:
        patch.setattr(opening, "read_migrations", lambda: newer)
        opening.prepare_database(empty_url, wall_clock)
        assert not opening.needs_migration(empty_url)
    with (
        psycopg.connect(empty_url, autocommit=True, options="-c search_path=moongate") as member,
        pytest.raises(Unavailable, match="was upgraded by another version of Moongate"),
    ):
        opening.share_use(member, "the database")


def test_newer_tables_of_procrastinate_are_a_migration(empty_url: str) -> None:
    assert not opening.needs_migration(empty_url)
    opening.prepare_database(empty_url, wall_clock)
    assert forget_last_job_migration(empty_url)
    assert opening.needs_migration(empty_url)

    opening.prepare_database(empty_url, wall_clock)

    assert not opening.needs_migration(empty_url)


@pytest.mark.slow
def test_a_restart_ends_the_old_generation_before_it_migrates(empty_url: str, live: Callable[..., Live]) -> None:
    gateway = live(env={"MOONGATE_STORE_URL": empty_url}).start()
    forget_last_job_migration(empty_url)

    restarted = Shell(gateway.env, gateway.home)("restart")

    assert restarted.code == 0, restarted
    assert not opening.needs_migration(empty_url)
    assert [line["generation"] for line in gateway.logged("generation.leads")] == [1, 2]


def forget_last_job_migration(url: str) -> str:
    """Take away the mark of Procrastinate's last migration, which can be made again; return its name."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "DELETE FROM moongate.job_migrations WHERE name = (SELECT max(name) FROM moongate.job_migrations)"
            " RETURNING name"
        ).fetchone()
    assert row is not None
    return str(row[0])


def count_migrations(url: str) -> int:
    with contextlib.closing(psycopg.connect(url)) as connection:
        return len(connection.execute("SELECT * FROM moongate.migrations").fetchall())
