"""Restarts that nobody notices, crashes that mend themselves: real processes, real signals, real load."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway import paths
from gateway.supervisor import intent
from gateway.supervisor.intent import Outcome
from tests.support.live import Live
from tests.support.waiting import until_sync

MakeLive = Callable[..., Live]

#: a program that listens, and is no gateway
STRANGER = """
import socket, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
time.sleep(99)
"""
AGENT = {"id": "main", "backend": "echo", "script": True, "max_concurrent": 64}


def restart(live: Live, *, hard: bool = False) -> Outcome:
    """Ask for a restart as `gateway restart` does, and return how it went."""
    lock = paths.lock(live.home, live.config)
    assert live.process is not None
    asked = intent.ask(lock, live.process.pid, hard=hard, reason="test")
    os.kill(live.process.pid, signal.SIGUSR1)
    until_sync(lambda: intent.answered(lock, asked) is not None, "the restart is answered", within=60)
    answered = intent.answered(lock, asked)
    assert answered is not None
    return answered


def command(live: Live, *words: str) -> subprocess.CompletedProcess[str]:
    program = "from cli.main import main; raise SystemExit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *words], env=live.env, capture_output=True, text=True, timeout=90, cwd=live.home
    )


def log_of(live: Live) -> list[dict[str, Any]]:
    lines = paths.log_file(live.home).read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


class Load:
    """Clients that never retry: some keep their connection, some make a new one for each request."""

    def __init__(self, live: Live, clients: int) -> None:
        self._port = live.port
        self._headers = {"Authorization": f"Bearer {live.token}", "Content-Type": "application/json"}
        self._clients = clients
        self._stop = threading.Event()
        self.failed: list[object] = []
        self.done = 0

    @contextmanager
    def on(self) -> Iterator[Load]:
        threads = [threading.Thread(target=run) for run in (self._keep, self._fresh) for _ in range(self._clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        body = json.dumps({"channel": "webchat", "chat_id": "load", "content": "x"})
        connection.request("POST", "/api/message", body, self._headers)
        answer = connection.getresponse()
        answer.read()
        self.done += 1
        if answer.status != 200:
            self.failed.append(answer.status)
        return answer.getheader("Connection") != "close"

    def _keep(self) -> None:
        connection = self._connect()
        while not self._stop.wait(0.01):
            try:
                if not self._ask(connection):
                    connection.close()
                    connection = self._connect()
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection = self._connect()
        connection.close()

    def _fresh(self) -> None:
        while not self._stop.wait(0.02):
            connection = self._connect()
            try:
                self._ask(connection)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
            finally:
                connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)


def test_restarts_under_load_refuse_nobody_and_runs_end_once_where_they_began(live: MakeLive) -> None:
    gateway = live(config={"agents": {"list": [AGENT]}}).start()
    tasks, answers = [], []

    def wait_three_seconds(number: int) -> None:
        body = {"message": "@@ sleep 3\n@@ say done", "session": f"long-{number}"}
        answers.append(gateway.call("POST", "/api/agent", body, timeout=60).body.get("reply"))

    waiting = []
    with Load(gateway, clients=16).on() as load:
        for number in range(5):
            task = gateway.call("POST", "/api/tasks", {"input": "@@ sleep 4\n@@ say ended"}).body["task"]["id"]
            tasks.append(task)
            waiting.append(threading.Thread(target=wait_three_seconds, args=(number,)))
            waiting[-1].start()
            until_sync(lambda: gateway.call("GET", f"/api/tasks/{task}").body["task"]["status"] == "running")  # noqa: B023
            outcome = restart(gateway, hard=number == 2)
            assert (outcome.ok, outcome.new) == (True, outcome.old + 1)
        for thread in waiting:
            thread.join()
        for task in tasks:
            until_sync(lambda: gateway.call("GET", f"/api/tasks/{task}").body["task"]["status"] == "succeeded")  # noqa: B023

    assert load.failed == []
    assert load.done > 200
    assert answers == ["done"] * 5
    shown = [gateway.call("GET", f"/api/tasks/{task}").body["task"] for task in tasks]
    assert [(one["attempt"], one["result"]) for one in shown] == [(1, "ended")] * 5
    assert gateway.process is not None
    assert gateway.process.poll() is None


def test_a_run_of_the_old_generation_is_watched_and_cancelled_from_the_new_one(live: MakeLive) -> None:
    gateway = live(config={"agents": {"list": [AGENT]}}).start()
    task = gateway.call("POST", "/api/tasks", {"input": "@@ words 3000 0.05"}).body["task"]["id"]
    until_sync(lambda: gateway.call("GET", f"/api/tasks/{task}").body["task"]["last_event"] > 3)
    assert restart(gateway).ok

    known = gateway.call("GET", f"/api/tasks/{task}").body["task"]
    assert known["status"] == "running"
    until_sync(
        lambda: gateway.call("GET", f"/api/tasks/{task}").body["task"]["last_event"] > known["last_event"],
        "the new generation sees what the old one writes",
    )
    gateway.call("POST", f"/api/tasks/{task}/cancel")

    until_sync(lambda: gateway.call("GET", f"/api/tasks/{task}").body["task"]["status"] == "cancelled")
    until_sync(lambda: len(gateway.generations) == 1, "the old generation has ended")


def test_a_config_that_cannot_be_used_is_refused_and_the_old_generation_goes_on(live: MakeLive) -> None:
    gateway = live().start()
    good = gateway.config.read_text()
    gateway.config.write_text('{"gateway": {"prot": 1}}')

    refused = command(gateway, "restart")

    assert refused.returncode == 1
    assert 'gateway.prot: unknown field; did you mean "port"?' in refused.stderr
    health = gateway.call("GET", "/health").body
    assert (health["generation"], health["status"]) == (1, "degraded")
    gateway.config.write_text(good)
    assert command(gateway, "restart").returncode == 0
    assert gateway.call("GET", "/health").body["status"] == "healthy"


def test_an_agent_that_cannot_be_used_is_refused_by_the_new_generation(live: MakeLive) -> None:
    gateway = live().start()
    gateway.config.write_text(
        json.dumps({"gateway": {"port": 0}, "agents": {"list": [{"id": "a", "backend": "nope"}]}})
    )

    refused = command(gateway, "restart")

    assert refused.returncode == 1
    assert "nope" in refused.stderr
    assert gateway.call("GET", "/health").body["generation"] == 1


def test_a_crash_is_mended_and_a_bad_config_meanwhile_is_not_taken(live: MakeLive) -> None:
    gateway = live().start()
    gateway.config.write_text("{")

    gateway.generations[0].kill()

    until_sync(lambda: serves(gateway, generation=3), "the second one was refused, the third one serves")
    assert "last good" in gateway.call("GET", "/health").body["checks"]["config"]
    assert gateway.config.with_name("config.json.rejected").read_text() == "{"


def test_a_generation_that_hangs_says_where_and_is_replaced(live: MakeLive) -> None:
    gateway = live(env={"MOONGATE_HANG_TIMEOUT": "2"}).start()

    gateway.generations[0].suspend()

    until_sync(lambda: serves(gateway, generation=2), "the next generation serves")
    assert gateway.stop() == 0


def test_the_port_is_free_soon_after_the_supervisor_is_killed_and_its_runs_are_done_later(live: MakeLive) -> None:
    gateway = live().start()
    task = gateway.call("POST", "/api/tasks", {"input": "@@ sleep 2\n@@ say done"}).body["task"]["id"]
    until_sync(lambda: gateway.call("GET", f"/api/tasks/{task}").body["task"]["status"] == "running")
    serving = gateway.generations
    assert gateway.process is not None

    gateway.process.kill()
    gateway.process.wait()

    _, alive = psutil.wait_procs(serving, 20)
    assert alive == []
    gateway.start()
    until_sync(lambda: gateway.call("GET", f"/api/tasks/{task}").body["task"]["status"] == "succeeded")
    assert gateway.call("GET", f"/api/tasks/{task}").body["task"]["attempt"] == 2


def test_a_bare_signal_restarts_only_where_it_is_allowed(live: MakeLive) -> None:
    strict, open_ = live("strict").start(), live("open", env={"XOPC_ALLOW_SIGUSR1_RESTART": "1"}).start()

    for gateway in (strict, open_):
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGUSR1)

    until_sync(lambda: serves(open_, generation=2), "the second generation serves")
    until_sync(lambda: any(line["event"] == "restart.ignored" for line in log_of(strict)))
    assert strict.call("GET", "/health").body["generation"] == 1


def test_it_is_started_stopped_and_started_again_from_the_command_line(live: MakeLive) -> None:
    gateway = live()
    try:
        assert command(gateway, "stop").returncode == 3
        assert command(gateway, "restart").returncode == 3
        started = command(gateway, "start")
        assert started.returncode == 0, started.stderr
        assert "already running" in command(gateway, "start").stdout
        assert command(gateway, "status").returncode == 0
        assert json.loads(command(gateway, "restart", "--json").stdout)["new"] == 2
        assert json.loads(command(gateway, "restart", "--hard", "--json").stdout)["new"] == 3
        assert command(gateway, "restart", "--force").returncode == 0
        assert command(gateway, "stop", "--timeout", "3000").returncode == 0
        assert command(gateway, "status").returncode == 3
    finally:
        with suppress(AttributeError):
            command(gateway, "stop", "--force")


def test_many_starts_at_once_have_one_winner(live: MakeLive) -> None:
    gateway = live()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env=gateway.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=gateway.home,
        )
        for _ in range(12)
    ]
    try:
        until_sync(lambda: sum(one.poll() is not None for one in started) == 11, "all but one have ended", within=60)
        losers = [one for one in started if one.poll() is not None]
        assert {one.returncode for one in losers} == {75}
        for one in losers:
            assert one.stderr is not None
            assert "a gateway is already running" in one.stderr.read()
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.communicate(timeout=30)


def test_force_takes_the_port_from_a_gateway_and_leaves_a_stranger_alone(live: MakeLive, tmp_path: Path) -> None:
    stranger = subprocess.Popen(
        [
            sys.executable,
            "-c",
            STRANGER,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stranger.stdout is not None
    port = int(stranger.stdout.readline())
    gateway = live(config={"gateway": {"port": port}})
    try:
        refused = command(gateway, "run", "--force")
        assert refused.returncode == 75
        assert f"Held by pid {stranger.pid}" in refused.stderr
        assert stranger.poll() is None
        gateway.start("--kill-foreign")
        assert stranger.wait(20) != 0
        first = gateway.process
        gateway.start("--force")
        assert first is not None
        assert first.wait(20) == 0
    finally:
        stranger.kill()
        stranger.communicate()


@pytest.mark.parametrize("name", ["MOONGATE_NO_RESPAWN", "XOPC_NO_RESPAWN"])
def test_without_respawn_there_is_one_process(live: MakeLive, name: str) -> None:
    gateway = live(env={name: "1"}).start()

    assert gateway.call("POST", "/api/agent", {"message": "hi"}).body["reply"] == "echo: hi"
    assert gateway.generations == []
    assert gateway.stop() == 0


def serves(gateway: Live, generation: int) -> bool:
    with suppress(OSError):
        return bool(gateway.call("GET", "/health", timeout=3).body["generation"] == generation)
    return False
