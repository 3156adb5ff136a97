"""Generations that fail to start, crash or hang: the gateway keeps serving, and says why."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness import faults
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

ECHO = {"id": "main", "backend": "echo", "script": True}
#: short timeouts, for tests in which a generation must hang before it is replaced
SHORT = {"MOONGATE_HANG_TIMEOUT": "5"}


@pytest.fixture
def one(live: Callable[..., Live]) -> Live:
    made = live()
    made.home.chmod(0o700)
    return faults.able(made).start()


@pytest.fixture
def hasty(live: Callable[..., Live]) -> Live:
    made = live(env=SHORT)
    made.home.chmod(0o700)
    return faults.able(made).start()


@pytest.fixture
def shell(one: Live) -> Shell:
    return Shell(one.env, one.home)


def write_config(live: Live, agents: list[dict[str, Any]], **settings: Any) -> None:
    live.config.write_text(json.dumps({"gateway": {"port": 0, **settings}, "agents": {"list": agents}}))


@pytest.mark.parametrize(
    ("fault", "why"),
    [(faults.NO_IMPORT, "exit code 1"), (faults.NEVER_READY, "not ready within 3 s")],
    ids=["cannot be imported", "is never ready"],
)
def test_a_generation_that_fails_to_start_leaves_the_old_one_serving(
    live: Callable[..., Live], fault: str, why: str
) -> None:
    one = live()
    one.home.chmod(0o700)
    del one.env["MOONGATE_READY_TIMEOUT"]  # the value in the file counts, and it changes
    write_config(one, [ECHO], ready_timeout=2 * PATIENCE)
    faults.able(one).start()
    shell = Shell(one.env, one.home)
    old = one.generation
    faults.give(one, fault)
    if fault is faults.NEVER_READY:
        write_config(one, [ECHO], ready_timeout=3)

    result = shell("restart")

    assert (result.code, one.health["generation"], one.generation) == (1, 1, old)
    assert why in result.err
    assert "Generation 1 goes on." in result.err
    assert "restart.failed" in shell("logs", "--level", "error").out
    faults.cure(one)
    write_config(one, [ECHO], ready_timeout=2 * PATIENCE)
    assert "generation 1 → 3" in shell("restart").out


def test_a_migration_may_take_longer_than_a_start(live: Callable[..., Live]) -> None:
    # A start takes about 1 s, and 3 s with four processes for each core; the test takes longer than this.
    one = live(env={"MOONGATE_READY_TIMEOUT": "12"})
    one.home.chmod(0o700)
    faults.able(one).start()
    shell = Shell(one.env, one.home)
    slow = (
        "first = opening._apply_migrations\ndef slowly(*given):\n    import time; time.sleep(13)\n    first(*given)\n"
    )
    faults.give(one, f"{faults.PENDING_MIGRATION}\n{slow}opening._apply_migrations = slowly\n")

    result = shell("restart")

    assert (result.code, one.health["generation"]) == (0, 2), result.err


def test_an_upgrade_that_fails_after_its_migration_says_that_nothing_serves_and_how_to_go_back(
    one: Live, shell: Shell
) -> None:
    faults.give(one, f"{faults.PENDING_MIGRATION}\n{faults.FAILS_AFTER_MIGRATION}")

    result = shell("restart")

    assert result.code == 1
    assert "goes on." not in result.err
    assert "No generation serves now" in result.err
    (copy,) = (one.home / "data").glob("moongate.db.schema-*")
    assert copy.name in result.err
    faults.give(one, faults.PENDING_MIGRATION)
    one.wait_led()
    assert one.call("POST", "/api/agent", {"message": "hi"}).body["reply"] == "echo: hi"


@pytest.mark.parametrize("way", [[], ["--hard"]], ids=["plain", "hard"])
def test_a_file_that_cannot_be_read_is_refused(one: Live, shell: Shell, way: list[str]) -> None:
    one.config.write_text("{")

    result = shell("restart", *way)

    assert result.code == 1
    assert "~/config.json: line 1: not valid JSON" in result.err
    assert "Generation 1 goes on." in result.err
    assert (one.health["generation"], one.health["status"]) == (1, "degraded")


def test_a_rejected_config_shows_in_health_until_it_is_fixed(one: Live, shell: Shell) -> None:
    write_config(one, [{"id": "main", "backend": "ecko"}])

    refused = shell("restart")
    told = one.health
    write_config(one, [ECHO])
    mended = shell("restart")

    assert refused.code == 1
    assert "ecko" in refused.err
    assert told["status"] == "degraded"
    assert "ecko" in told["checks"]["config"]
    assert (mended.code, one.health["status"]) == (0, "healthy")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (json.dumps({"gateway": {"port": 0}, "agents": {"list": [{"id": "main", "backend": "ecko"}]}}), "ecko"),
        ('{"gateway', "not valid JSON"),
    ],
    ids=["the generation refuses it", "the supervisor refuses it"],
)
def test_after_a_crash_with_a_bad_config_the_last_good_one_is_used(one: Live, bad: str, why: str) -> None:
    good = one.config.read_text()
    one.config.write_text(bad)

    one.signal(signal.SIGKILL, one.generation)
    one.wait_led()

    assert one.health["status"] == "degraded"
    assert why in one.health["checks"]["config"]
    assert one.config.with_name("config.json.rejected").read_text() == bad
    assert one.config.with_name("config.json.last-good").read_text() == good
    assert one.config.read_text() == bad
    assert one.call("POST", "/api/agent", {"message": "hi"}).body["reply"] == "echo: hi"


def test_after_a_crash_the_socket_on_a_public_address_still_asks_for_a_token(live: Callable[..., Live]) -> None:
    """The edited address counts from a restart on, and so must what is safe on that address alone."""
    one = live()
    write_config(one, [ECHO], host="0.0.0.0")
    one.start()
    write_config(one, [ECHO], host="127.0.0.1", auth={"mode": "none"})

    one.signal(signal.SIGKILL, one.generation)
    one.wait_led()

    assert one.call("GET", "/api/sessions", headers={"Authorization": ""}).status == 401
    assert "is allowed on a loopback address only" in one.health["checks"]["config"]


def test_a_killed_generation_is_replaced_at_once(one: Live) -> None:
    one.signal(signal.SIGKILL, one.generation)

    assert one.call("GET", "/livez").status == 200  # the connection waited in the socket

    (crash,) = one.wait_logged("generation.crashed")
    assert crash["next_in"] == 0
    assert one.health["generation"] == 2


def test_a_crash_loop_backs_off_and_ends_when_the_cause_is_gone(one: Live, shell: Shell) -> None:
    faults.give(one, faults.NO_IMPORT)
    one.signal(signal.SIGKILL, one.generation)

    crashes = one.wait_logged("generation.crashed", 4)
    refused = shell("restart")
    faults.cure(one)

    pauses = [crash["next_in"] for crash in crashes]
    assert pauses[0] == 0
    assert 0.3 <= pauses[1] < pauses[2] < pauses[3]
    assert one.log.stat().st_size < 100_000
    assert refused.code == 1
    assert "exit code 1" in refused.err
    assert "No generation serves now" in refused.err
    assert shell("restart").code == 0
    assert one.call("GET", "/livez").status == 200


def test_a_generation_that_cannot_lead_is_replaced(live: Callable[..., Live]) -> None:
    one = faults.able(live())
    faults.give(
        one,
        "from gateway.engine.engine import Engine\n"
        "async def start_leading(self): raise RuntimeError('it cannot')\n"
        "Engine.start_leading = start_leading\n",
    )
    one.start(wait=False)
    one.wait_logged("generation.crashed")
    faults.cure(one)

    def answers() -> bool:
        try:  # the second generation may have begun before the cure: it takes requests until it crashes, too
            return one.call("POST", "/api/agent", {"message": "hi"}).body.get("reply") == "echo: hi"
        except OSError:
            return False

    until_sync(answers, "a generation that can lead answers")
    assert "RuntimeError: it cannot" in one.log.read_text()


def test_a_generation_with_a_blocked_event_loop_is_logged_and_replaced(live: Callable[..., Live]) -> None:
    one = faults.able(live(env=SHORT))
    faults.give(one, faults.HANGS_ON_SIGWINCH)
    one.start()
    hung = one.generation
    faults.cure(one)

    one.signal(signal.SIGWINCH, hung)
    one.wait_logged("generation.hangs")
    until_sync(lambda: hung not in one.generations, "the hung one is gone")

    assert "hang_here" in one.log.read_text()
    assert one.call("GET", "/health").body["generation"] == 2


def test_a_stopped_generation_is_replaced(hasty: Live) -> None:
    one, stopped = hasty, hasty.generation
    one.signal(signal.SIGSTOP, stopped)

    one.wait_logged("generation.hangs")
    until_sync(lambda: stopped not in one.generations, "the stopped one is gone")

    assert one.call("GET", "/health").body["generation"] == 2


def test_a_gateway_whose_generation_is_stopped_still_stops(one: Live, shell: Shell) -> None:
    one.signal(signal.SIGSTOP, one.generation)

    result = shell("stop", "--timeout", "500")

    assert result.code == 0
    assert one.record is not None
    assert not one.record.is_alive


def test_a_restart_while_the_old_one_is_stopped_replaces_it(one: Live, shell: Shell) -> None:
    """It cannot step down, so the supervisor ends it: two must never lead."""
    one.signal(signal.SIGSTOP, one.generation)

    assert shell("restart").code == 0

    assert one.health["generation"] == 2


def test_a_pause_of_the_whole_gateway_does_not_count_as_a_hang(hasty: Live) -> None:
    """As with ^Z at a terminal, or in a paused container."""
    one, generation = hasty, hasty.generation
    one.signal(signal.SIGSTOP, generation)
    one.signal(signal.SIGSTOP)
    time.sleep(6.5)  # this tests the passing of time
    one.signal(signal.SIGCONT)
    one.signal(signal.SIGCONT, generation)

    assert one.call("GET", "/health").body["generation"] == 1
    assert one.logged("generation.hangs") == []


@pytest.mark.parametrize("line", ["[1, 2]", "5", '"text"', "\\ud800", "[" * 20_000])
def test_nothing_that_a_generation_prints_ends_the_supervisor(live: Callable[..., Live], line: str) -> None:
    one = faults.able(live())
    faults.give(one, f"import sys; print({line!r}, file=sys.stderr)")

    one.start()

    assert one.health["generation"] == 1


def test_a_flood_on_standard_error_delays_neither_signals_nor_requests(live: Callable[..., Live]) -> None:
    one = faults.able(live())
    faults.give(
        one,
        "import os, threading\n"
        "def pour():\n"
        "    for _ in range(1000): os.write(2, (b'x' * 99 + b'\\n') * 300 + b'y' * 5000)\n"
        "threading.Thread(target=pour, daemon=True).start()\n",
    )
    one.start()

    assert one.call("GET", "/livez").status == 200
    assert one.stop() == 0
