"""Real gateways that are killed or stopped, or started twice."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drills import Impossible, ProgramMissing
from drills.catalogue import DRILLS, Row
from gateway import paths
from harness.live_gateway import Live
from harness.waiting import PATIENCE
from tests.support.store_kinds import PostgresKind, prepared_kind
from tests.support.thorough import choose_cases

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


#: each is much like another one, whose name begins in the same way, or whose parts have tests of their own
LIKE_OTHERS = {
    "fleet: the other gateway serves",
    "fleet: the database restarts",
    "fleet: an asynchronous replica takes over",
    "fleet: each time fires once",
    "status over starts and stops",
}


@pytest.mark.drill
@pytest.mark.parametrize(
    "row",
    choose_cases(DRILLS, [place for place, row in enumerate(DRILLS) if row.name not in LIKE_OTHERS]),
    ids=lambda row: row.name,
)
def test_the_guarantees_of_the_drill_hold(row: Row, tmp_path: Path) -> None:
    try:
        figures = row.short(tmp_path)
    except Impossible as why:
        is_failure = isinstance(why, ProgramMissing) and os.environ.get("MOONGATE_TEST_ALL")
        (pytest.fail if is_failure else pytest.skip)(str(why))
    print(figures)


ON_BOTH_STORES = [row for row in DRILLS if row.on is not None]
#: its guarantee is the commits of the store; the others are about processes, or add a receiver to it
OF_COMMITS = "kill -9 at random"


@pytest.mark.drill
@pytest.mark.parametrize(
    "row",
    choose_cases(ON_BOTH_STORES, [place for place, row in enumerate(ON_BOTH_STORES) if row.name == OF_COMMITS]),
    ids=lambda row: row.name,
)
def test_the_guarantees_of_the_drill_hold_on_postgresql(row: Row, tmp_path: Path) -> None:
    """The other drills are about files, or about what has nothing to do with the store."""
    assert row.on is not None
    with prepared_kind(PostgresKind.name) as kind:
        print(row.on(tmp_path, store=kind.find_live(tmp_path / "home")))


# --- one gateway for each config --------------------------------------------------------------


def start_beside(live: Live) -> tuple[int, str]:
    """Start another gateway with the same config, and return its exit code and its output."""
    second = Live.__new__(Live)
    vars(second).update(vars(live), output=live.home / "second.txt")
    process = second.start(wait=False).process
    assert process is not None
    return process.wait(PATIENCE), second.output.read_text()


def test_a_second_gateway_is_told_who_holds_the_lock(live: Callable[..., Live]) -> None:
    first = live().start()

    code, said = start_beside(first)

    assert code == 75
    assert first.process is not None
    assert f"pid {first.process.pid}, port {first.port}" in said
    assert first.call("GET", "/livez").status == 200


def test_the_lock_of_a_killed_gateway_is_free(live: Callable[..., Live]) -> None:
    first = live().start()
    first.kill()

    assert first.start().call("GET", "/livez").status == 200


def test_the_content_of_a_lock_file_is_not_trusted(live: Callable[..., Live]) -> None:
    one = live()
    lock = paths.lock_file(one.home, one.config)
    lock.parent.mkdir(parents=True)
    lock.write_text(f'{{"pid": {os.getpid()}, "createdAt": 0, "port": 1, "startTime": "0", "bootId": ""}}')

    assert one.start().call("GET", "/livez").status == 200


def test_a_lock_file_that_is_a_link_is_not_followed(live: Callable[..., Live], tmp_path: Path) -> None:
    one = live()
    target = tmp_path / "precious"
    target.write_text("precious")
    lock = paths.lock_file(one.home, one.config)
    lock.parent.mkdir(parents=True)
    lock.symlink_to(target)

    code, said = start_beside(one)

    assert (code, target.read_text()) == (78, "precious")
    assert str(lock) in said


# --- stopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_stops_immediately_and_cleanly(live: Callable[..., Live], number: signal.Signals) -> None:
    one = live(config={"gateway": {"stop_grace": 300.0}}).start()
    assert one.process is not None

    one.process.send_signal(number)

    assert one.process.wait(PATIENCE) == 0
    assert "Traceback" not in one.output.read_text()
    assert sorted(file.name for file in (one.home / "data").iterdir()) == ["gateway.lock", "moongate.db"]
