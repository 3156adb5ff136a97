"""The commands as on Windows, which has no supervisor: they use HTTP, and a restart stops and then starts.

These tests run on Linux and pretend that it is Windows; the behaviour of Windows itself is not tested.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.instance import Instance
from cli.remote import probe
from cli.remote.probe import State
from gateway import paths
from gateway.supervisor import last_stop, terminate
from harness.command_line import PATIENCE, Result
from harness.live_gateway import Live
from harness.waiting import until_sync
from tests.support.as_windows import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="Windows is pretended here")]

PROJECT = str(Path(__file__).parent.parent.parent)


class Windows:
    """A gateway in the background, and its user's commands."""

    def __init__(self, one: Live) -> None:
        self.one = one
        self.env = {**one.env, "PYTHONPATH": PROJECT}
        self.place = Instance.from_environment(self.env)

    def __call__(self, *words: str) -> Result:
        done = subprocess.run(
            [*PROGRAM, "cli", *words],
            env=self.env,
            cwd=self.one.home,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def start(self, **env: str) -> int:
        """Start the gateway as a child of this test, and return its PID."""
        with (self.one.home / "console.txt").open("a") as console:
            self.one.process = subprocess.Popen(
                PROGRAM,
                env={**self.env, **env},
                cwd=self.one.home,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                text=True,
            )
        self.one.wait_ready()
        return self.one.process.pid

    @property
    def pid(self) -> int:
        assert self.one.record is not None
        return self.one.record.pid

    def answers(self) -> bool:
        return probe.probe_gateway(self.place).state is State.RUNNING

    def ended(self) -> tuple[int, str]:
        """Return how the gateway ended: the exit code and the reason that it recorded itself."""
        found = last_stop.read_last_stop(paths.lock_file(self.one.home, self.one.config))
        assert found is not None
        return found.code, found.reason


@pytest.fixture
def windows(live: Callable[..., Live]) -> Iterator[Windows]:
    made = live()
    made.home.chmod(0o700)
    yield Windows(made)
    found = made.record
    if found is not None and found.is_alive:
        terminate.end_gateway(found, 0.0, signal.SIGKILL)


def test_a_gateway_starts_in_the_background_and_stops_on_request(windows: Windows) -> None:
    assert windows("start").code == 0
    assert windows.answers()

    stopped = windows("stop", "--timeout", "7000", "--json")

    assert (stopped.code, stopped.json["stopped"]) == (0, True)
    assert windows.ended() == (0, "it was told to stop")
    assert windows.one.logged("gateway.ending")[-1]["grace"] == 7.0
    assert windows("stop").code == 3


def test_a_forced_stop_kills_the_gateway(windows: Windows) -> None:
    windows.start()

    assert windows("stop", "--force").code == 0

    assert windows.one.process is not None
    assert windows.one.process.wait(PATIENCE) == -signal.SIGKILL
    assert windows.one.logged("gateway.ending") == []


def test_a_restart_stops_and_starts_the_gateway(windows: Windows) -> None:
    assert windows("start").code == 0
    before = windows.pid

    done = windows("restart", "--json")

    assert (done.code, done.json["restarted"]) == (0, True)
    assert windows.answers()
    assert windows.pid == done.json["pid"] != before
    assert windows.ended()[0] == 0


def test_a_restart_with_a_bad_config_is_refused_and_the_gateway_keeps_running(windows: Windows) -> None:
    before = windows.start()
    windows.one.config.write_text('{"gatewy": {}}')

    done = windows("restart")

    assert done.code == 78
    assert "gatewy" in done.err
    assert windows.answers()
    assert windows.pid == before


def test_a_forced_restart_starts_a_stopped_gateway(windows: Windows) -> None:
    assert windows("restart").code == 3
    assert windows("restart", "--force").code == 0
    assert windows.answers()


def test_after_a_restart_over_http_a_successor_takes_over(windows: Windows) -> None:
    before = windows.start()

    assert windows.one.call("POST", "/api/gateway/restart").status == 202

    until_sync(lambda: windows.pid != before and windows.answers(), "the successor answers")
    assert windows.one.process is not None
    assert windows.one.process.wait(PATIENCE) == 0
    assert windows.ended() == (0, "a restart")


def test_in_a_service_the_gateway_ends_and_the_manager_starts_it_again(windows: Windows) -> None:
    windows.start(MOONGATE_SERVICE_MARKER="taskscheduler")

    assert windows.one.call("POST", "/api/gateway/restart").status == 202

    assert windows.one.process is not None
    assert windows.one.process.wait(PATIENCE) == 75
    assert windows.ended() == (75, "a restart")
    assert not windows.answers()


def test_without_respawn_the_gateway_restarts_in_the_same_process(windows: Windows) -> None:
    before = windows.start(MOONGATE_NO_RESPAWN="1")

    assert windows.one.call("POST", "/api/gateway/restart").status == 202

    until_sync(lambda: _generation(windows) == 2, "the second generation answers")
    assert windows.pid == before


def _generation(windows: Windows) -> Any:
    return (probe.probe_gateway(windows.place).health or {}).get("generation")


def test_a_restart_over_http_with_a_bad_config_is_refused(windows: Windows) -> None:
    before = windows.start()
    windows.one.config.write_text("{")

    assert windows.one.call("POST", "/api/gateway/restart").status == 202

    windows.one.wait_logged("restart.failed")
    assert windows.answers()
    assert windows.pid == before


def test_output_goes_to_a_file_that_only_the_owner_can_read(windows: Windows) -> None:
    file = windows.one.home / "said" / "service.log"
    windows.one.process = subprocess.Popen(
        [*PROGRAM, "--output", str(file), "--environment", "MOONGATE_DETACHED=1"],
        env=windows.env,
        cwd=windows.one.home,
        stdout=subprocess.PIPE,
        text=True,
    )
    windows.one.wait_ready()
    windows.one.stop()

    assert windows.one.process.communicate()[0] == ""
    assert file.read_text().startswith("Moongate ")
    assert "gateway.ready" not in file.read_text(), "the log has a file of its own"
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)


def test_a_token_from_the_command_line_is_stored_by_the_gateway_process(windows: Windows) -> None:
    assert os.name == "posix"
    process = subprocess.Popen(
        [*PROGRAM, "--token", "a-token-of-mine"], env=windows.env, cwd=windows.one.home, stdout=subprocess.DEVNULL
    )
    windows.one.process = process  # type: ignore[assignment]
    windows.one.wait_ready()

    assert windows.one.token == "a-token-of-mine"
    assert windows.one.record is not None
    assert windows.one.record.pid == process.pid
