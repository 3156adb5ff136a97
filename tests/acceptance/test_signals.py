"""What signals do: with a supervisor, and without one (`MOONGATE_NO_RESPAWN=1`)."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

ALONE = [{"MOONGATE_NO_RESPAWN": "1"}, {"XOPC_NO_RESPAWN": "1"}]
ALLOWED = [{"MOONGATE_ALLOW_SIGUSR1_RESTART": "1"}, {"XOPC_ALLOW_SIGUSR1_RESTART": "1"}]
NAMES = lambda env: " ".join(env) or "supervised"  # noqa: E731 a pytest id


@pytest.mark.parametrize("env", [{}, ALONE[0]], ids=NAMES)
def test_a_bare_sigusr1_is_logged_and_does_nothing(live: Callable[..., Live], env: dict[str, str]) -> None:
    one = live(env=env).start()

    one.signal(signal.SIGUSR1)

    one.wait_logged("restart.ignored")
    assert one.health["generation"] == 1


@pytest.mark.parametrize("env", [*ALLOWED, ALLOWED[0] | ALONE[0]], ids=NAMES)
def test_sigusr1_restarts_if_the_settings_allow_it(live: Callable[..., Live], env: dict[str, str]) -> None:
    one = live(env=env).start()

    one.signal(signal.SIGUSR1)

    until_sync(lambda: one.health["generation"] == 2, "the next one answers")
    assert one.process is not None
    assert one.process.poll() is None


@pytest.mark.parametrize("env", ALONE, ids=NAMES)
def test_without_respawn_a_restart_happens_in_the_same_process(live: Callable[..., Live], env: dict[str, str]) -> None:
    one = live(env=env)
    one.home.chmod(0o700)
    one.start()
    shell = Shell(one.env, one.home)
    before = one.record

    told = [shell("restart").out, shell("restart", "--hard").out]

    assert ["1 → 2" in told[0], "2 → 3" in told[1]] == [True, True]
    assert (one.health["generation"], one.generations, one.record) == (3, [], before)
    assert one.stop() == 0


def test_without_respawn_a_bad_config_is_refused_and_a_good_one_applied(live: Callable[..., Live]) -> None:
    one = live(env=ALONE[0])
    one.home.chmod(0o700)
    one.start()
    shell = Shell(one.env, one.home)
    good = json.loads(one.config.read_text())
    one.config.write_text("{")

    refused = shell("restart")
    good["agents"]["list"].append({"id": "further", "backend": "echo"})
    one.config.write_text(json.dumps(good))
    one.signal(signal.SIGHUP)

    assert refused.code == 1
    assert "not valid JSON" in refused.err
    until_sync(lambda: one.health["generation"] == 2, "it serves again")
    assert "further" in json.dumps(one.call("GET", "/api/agents").body)


def test_without_respawn_a_run_is_requeued_and_finished(live: Callable[..., Live]) -> None:
    asks = {"id": "main", "backend": "echo", "script": True, "permissions": "ask"}
    one = live(env=ALONE[0], config={"gateway": {"stop_grace": 0}, "agents": {"list": [asks]}})
    one.home.chmod(0o700)
    one.start()
    run = one.call("POST", "/api/tasks", {"input": "@@ ask go on"}).body["task"]["id"]
    asked = f"/api/tasks/{run}/permissions"
    until_sync(lambda: one.call("GET", asked).body["permissions"], "it asks")

    assert Shell(one.env, one.home)("restart").code == 0

    until_sync(lambda: len(one.call("GET", asked).body["permissions"]) == 2, "it asks again")
    one.call("POST", f"{asked}/p2", {"answer": "allow"})
    until_sync(lambda: one.call("GET", f"/api/tasks/{run}").body["task"]["status"] == "succeeded", "it is done")


@pytest.mark.parametrize("env", [{}, ALONE[0]], ids=NAMES)
def test_a_second_signal_ends_the_grace_period(live: Callable[..., Live], env: dict[str, str]) -> None:
    one = live(env=env, config={"gateway": {"stop_grace": 600}}).start()
    run = one.call("POST", "/api/tasks", {"input": "@@ hang"}).body["task"]["id"]
    until_sync(lambda: one.call("GET", f"/api/tasks/{run}").body["task"]["status"] == "running", "it runs")
    one.signal(signal.SIGTERM)
    one.wait_logged("gateway.ending")

    one.signal(signal.SIGTERM)

    assert one.process is not None
    assert one.process.wait(PATIENCE) == 0


def test_the_timeout_of_a_stop_is_the_gateways_grace_period(live: Callable[..., Live]) -> None:
    one = live(config={"gateway": {"stop_grace": 600}})
    one.home.chmod(0o700)
    one.start()
    run = one.call("POST", "/api/tasks", {"input": "@@ hang"}).body["task"]["id"]
    until_sync(lambda: one.call("GET", f"/api/tasks/{run}").body["task"]["status"] == "running", "it runs")

    assert Shell(one.env, one.home)("stop", "--timeout", "300").code == 0

    assert one.logged("gateway.ending")[-1]["grace"] == 0.3


def test_ctrl_c_at_a_terminal_ends_without_a_traceback(live: Callable[..., Live]) -> None:
    one = live()
    one.home.chmod(0o700)
    shell = Shell(one.env, one.home)
    with shell.terminal("run") as at:
        at.wait_for("Ctrl-C stops.")
        at.press("\x03")
        assert at.end() == 0

    assert "Traceback" not in at.shown
