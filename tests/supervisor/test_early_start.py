"""The first generation's process starts before the supervisor has loaded: when, and how it ends if it is not needed."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from gateway import config
from gateway.__main__ import _serve_early
from gateway.control_channel import MessageType
from gateway.supervisor import early_start, reexec
from gateway.supervisor.early_start import EarlyProcess
from gateway.supervisor.generation import BAD_CONFIG_EXIT_CODE, Generation

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no process is started early")

#: seconds in which a process must have done what it was told to do
PATIENCE_SECONDS = 30.0


@pytest.fixture
def early() -> Iterator[EarlyProcess]:
    found = early_start.start_process([], _serve_early)
    assert found is not None
    yield found
    found.discard()


@pytest.mark.parametrize(
    ("arguments", "env", "platform", "expected"),
    [
        ([], {}, "linux", True),
        (["--port", "8080", "--host=0.0.0.0", "--config", "work.json", "--output", "log"], {}, "linux", True),
        (["--force"], {}, "linux", True),
        ([], {}, "win32", False),
        ([], {}, "darwin", False),
        ([], {"MOONGATE_NO_RESPAWN": "1"}, "linux", False),
        ([], {"XOPC_NO_RESPAWN": "1"}, "linux", False),
        ([], {"MOONGATE_NO_RESPAWN": ""}, "linux", True),
        ([], {reexec.RESUME_VARIABLE: "{}"}, "linux", False),
        ([], {"LISTEN_FDS": "1"}, "linux", False),
        (["--environment", "TZ=UTC"], {}, "linux", False),
        (["--env=TZ=UTC"], {}, "linux", False),
        (["--token", "secret"], {}, "linux", False),
        (["--tok=secret"], {}, "linux", False),
        (["-h"], {}, "linux", False),
        (["--help"], {}, "linux", False),
    ],
)
def test_it_starts_only_where_a_generation_will(
    arguments: list[str], env: Mapping[str, str], platform: str, expected: bool
) -> None:
    assert early_start.may_start(arguments, env, platform) is expected


def test_it_becomes_the_generation_that_is_started(early: EarlyProcess, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"agents": {"list": [{"id": "main", "backend": "echo"}]}}))
    env = {**os.environ, "MOONGATE_HOME": str(tmp_path), "MOONGATE_INSTANCE": "one"}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        one = Generation.start_process(1, listener, env, config.read_sources(env), lambda event, **about: None, early)
    os.set_blocking(one.log, True)
    one.line.end.settimeout(PATIENCE_SECONDS)

    said = until_message(one, MessageType.READY)

    early.discard()  # no longer does anything
    assert one.pid == early.pid
    assert said["agent"] == "main"
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    one.line.send_message(MessageType.STOP, seconds=0)
    assert os.waitpid(one.pid, 0)[1] == 0
    one.close()


def until_message(one: Generation, wanted: MessageType) -> dict[str, object]:
    while (messages := one.line.receive_messages()) is not None:
        for message in messages:
            if message.word is wanted:
                return message.about
    raise AssertionError(os.read(one.log, 10_000).decode())


def test_another_process_is_started_for_one_that_has_ended(early: EarlyProcess) -> None:
    psutil.Process(early.pid).kill()
    os.waitid(os.P_PID, early.pid, os.WEXITED | os.WNOWAIT)
    with socket.socket() as listener:
        one = Generation.start_process(1, listener, dict(os.environ), config.read_sources({}), print, early)

    assert one.pid != early.pid
    one.send_signal()
    os.waitpid(one.pid, 0)
    one.close()
    with pytest.raises(ChildProcessError):  # it was reaped
        os.waitpid(early.pid, 0)


def test_it_ends_when_its_supervisor_ends(early: EarlyProcess) -> None:
    early.line.close()

    assert os.waitpid(early.pid, 0)[1] == 0
    assert os.read(early.log, 1000) == b""


def test_no_process_is_started_if_none_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise OSError(11, "no process is left")

    before = open_descriptors()
    monkeypatch.setattr(os, "fork", fail)

    assert early_start.start_process([], _serve_early) is None
    assert open_descriptors() == before


def open_descriptors() -> list[str]:
    gc.collect()  # else it may close meanwhile what earlier tests have left
    return sorted(os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"))


@pytest.mark.parametrize(("arguments", "code"), [([], BAD_CONFIG_EXIT_CODE), (["--no-such-option"], 2), (["-h"], 0)])
def test_a_gateway_that_does_not_start_leaves_no_process(tmp_path: Path, arguments: list[str], code: int) -> None:
    (tmp_path / "config.json").write_text("{ not a config")
    env = {**os.environ, "MOONGATE_HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments], env=env, capture_output=True, timeout=PATIENCE_SECONDS
    )

    assert done.returncode == code
    assert [one.pid for one in psutil.process_iter() if uses_home(one, tmp_path)] == []


def uses_home(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get("MOONGATE_HOME") == str(home)
    except psutil.Error:
        return False


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_gateway_whose_streams_are_closed_ends_as_others_do(tmp_path: Path, closed: str) -> None:
    (tmp_path / "config.json").write_text("{ not a config")
    env = {**os.environ, "MOONGATE_HOME": str(tmp_path)}

    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m gateway {closed}', sys.executable],
        env=env,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )

    assert done.returncode == BAD_CONFIG_EXIT_CODE
    assert [one.pid for one in psutil.process_iter() if uses_home(one, tmp_path)] == []


def test_a_process_never_runs_on_as_a_supervisor() -> None:
    def lose_streams(line: int) -> int:
        sys.stdout = None  # type: ignore[assignment]
        sys.excepthook = None  # type: ignore[assignment] even an error cannot be told
        raise RuntimeError("serving broke")

    early = early_start.start_process([], lose_streams)
    assert early is not None
    with contextlib.closing(early.line):
        assert os.waitstatus_to_exitcode(os.waitpid(early.pid, 0)[1]) == 1
    os.close(early.log)
