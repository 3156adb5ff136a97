"""Whole gateways whose store is on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.command_line import Result, Shell
from harness.live_gateway import Live
from harness.postgres_server import PostgresServer
from harness.waiting import until_sync
from tests.store.postgres.servers import PASSWORD, prepare, url_of

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    for file in tmp_path.rglob("*"):
        if file.is_file() and not file.name.startswith("config.json"):
            assert PASSWORD.encode() not in file.read_bytes(), file


def make(live: Callable[..., Live], url: str, tmp_path: Path) -> tuple[Live, Shell]:
    made = live(config={"store": {"url": url}})
    made.home.chmod(0o700)
    return made, Shell(made.env, tmp_path)


def database_finding(result: Result) -> dict[str, Any]:
    return next(row for row in result.json["findings"] if row["check"] == "database")


def test_no_command_shows_the_password(
    live: Callable[..., Live], home: Path, tmp_path: Path, strict_server: PostgresServer
) -> None:
    gateway, shell = make(live, url_of(strict_server, "clerk"), tmp_path)
    before = [shell(*command) for command in (["doctor", "--json"], ["config", "show"], ["status"])]
    gateway.start()
    answered = shell("agent", "hi")
    during = [
        shell(*command)
        for command in (
            ["doctor"],
            ["doctor", "--json"],
            ["config", "show", "--json"],
            ["status"],
            ["status", "--json"],
        )
    ]

    assert database_finding(before[0])["level"] == "ok"
    assert "clerk:***@localhost" in before[1].out
    for result in (*before, answered, *during):
        assert PASSWORD not in result.out + result.err


def test_a_gateway_waits_for_its_server(
    live: Callable[..., Live], home: Path, tmp_path: Path, server: PostgresServer
) -> None:
    gateway, shell = make(live, prepare(server), tmp_path)
    server.stop()
    try:
        found = database_finding(shell("doctor", "--json"))
        assert found["level"] == "error"
        assert "cannot use the database" in str(found)
        gateway.start(wait=False)
        until_sync(lambda: "cannot use the database" in gateway.output.read_text(), "it says what it lacks")
    finally:
        server.start()

    gateway.wait_ready()

    assert shell("agent", "hi").out


def test_a_wrong_password_ends_the_start(
    live: Callable[..., Live], home: Path, tmp_path: Path, strict_server: PostgresServer
) -> None:
    gateway, _ = make(live, url_of(strict_server, "clerk", "wrong-horse"), tmp_path)
    gateway.start(wait=False)
    assert gateway.process is not None

    assert gateway.process.wait(60) == 78
    assert "does not accept the password" in gateway.output.read_text()
    assert "wrong-horse" not in gateway.output.read_text()
