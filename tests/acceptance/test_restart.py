"""Restarts that no client notices, with real processes and clients that never retry."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from gateway.process.identity import Identity
from harness import faults
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.traffic import Traffic
from harness.waiting import PATIENCE, until_sync
from tests.support import ports

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

ECHO = {"id": "main", "backend": "echo", "script": True, "max_concurrent": 32, "permissions": "ask"}
CONFIG = {"agents": {"list": [ECHO]}}


@pytest.fixture
def one(live: Callable[..., Live]) -> Live:
    made = live(config=CONFIG)
    made.home.chmod(0o700)
    return made


@pytest.fixture
def shell(one: Live) -> Shell:
    return Shell(one.env, one.home)


def submit(live: Live, text: str, session: str) -> str:
    answer = live.call("POST", "/api/tasks", {"input": text, "session": session})
    assert answer.status == 202
    return str(answer.body["task"]["id"])


def task(live: Live, run: str) -> dict[str, Any]:
    return dict(live.call("GET", f"/api/tasks/{run}").body["task"])


def wait_status(live: Live, run: str, *statuses: str) -> dict[str, Any]:
    until_sync(lambda: task(live, run)["status"] in statuses, f"the run is {statuses}")
    return task(live, run)


def ask_in_background(live: Live, text: str, session: str) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []

    def ask() -> None:
        answers.append(live.call("POST", "/api/agent", {"message": text, "session": session}))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def test_quick_restarts_reset_no_connection(one: Live, shell: Shell) -> None:
    """Without runs to drain, the old generation ends at once; its idle connections must not be reset."""
    one.start()

    with Traffic(one.port) as traffic:
        codes = [shell("restart").code for _ in range(4)]

    assert (codes, traffic.failures) == ([0] * 4, [])


@pytest.mark.both_stores(only_sqlite_on_push=True)
def test_a_run_ends_in_the_generation_that_started_it_and_is_watched_from_the_next(one: Live, shell: Shell) -> None:
    one.start()
    old = one.generation
    run = submit(one, "@@ words 30 0.1", "long")
    wait_status(one, run, "running")

    assert shell("restart").code == 0
    assert one.health["generation"] == 2
    events = read_events(one, run, 0)

    assert (events[-1][1]["kind"], events[-1][1]["status"]) == ("end", "succeeded")
    assert [number for number, _ in events] == list(range(1, len(events) + 1))
    assert task(one, run)["attempt"] == 1
    assert task(one, run)["result"].split() == [f"w{number}" for number in range(30)]
    until_sync(lambda: old not in one.generations, "the old generation has ended")


def read_events(live: Live, run: str, after: int) -> list[tuple[int, dict[str, Any]]]:
    """Read a run's stream as a browser does: reconnect after the last event each time the stream ends."""
    found: list[tuple[int, dict[str, Any]]] = []
    headers = {"Authorization": f"Bearer {live.token}", "Accept": "text/event-stream"}
    # Whether it is over comes first: events between the two looks are read, too.
    while not _is_over(live, run) or live.call("GET", f"/api/tasks/{run}").body["task"]["last_event"] > after:
        request = urllib.request.Request(f"{live.url}/api/tasks/{run}/events", headers=headers)
        request.add_header("Last-Event-ID", str(after))
        number = 0
        with urllib.request.urlopen(request, timeout=PATIENCE) as stream:
            for raw in stream:
                line = raw.decode().rstrip()
                if line.startswith("id:"):
                    number = int(line[3:])
                elif line.startswith("data:") and number > after:
                    after = number
                    found.append((number, json.loads(line[5:])))
    return found


def _is_over(live: Live, run: str) -> bool:
    return task(live, run)["status"] in ("succeeded", "failed", "cancelled")


@pytest.mark.both_stores(only_sqlite_on_push=True)
def test_a_stream_continues_over_restarts_without_gaps_or_duplicates(one: Live, shell: Shell) -> None:
    one.start()
    run = submit(one, "@@ words 60 0.05", "stream")
    found: list[tuple[int, dict[str, Any]]] = []
    reader = threading.Thread(target=lambda: found.extend(read_events(one, run, 0)))
    reader.start()

    codes = [shell("restart").code, shell("restart", "--hard").code]
    reader.join()

    assert codes == [0, 0]
    assert [number for number, _ in found] == list(range(1, task(one, run)["last_event"] + 1))
    assert task(one, run)["attempt"] == 1


@pytest.mark.both_stores(only_sqlite_on_push=True)
def test_a_run_of_a_draining_generation_is_cancelled_from_the_new_one(one: Live, shell: Shell) -> None:
    one.start()
    old = one.generation
    run = submit(one, "@@ hang", "hanging")
    wait_status(one, run, "running")
    assert shell("restart").code == 0
    until_sync(lambda: one.health["generation"] == 2, "the new one answers")
    assert old in one.generations

    one.call("POST", f"/api/tasks/{run}/cancel")

    assert wait_status(one, run, "cancelled", "failed", "succeeded")["status"] == "cancelled"
    until_sync(lambda: old not in one.generations, "the old generation has ended, as no run is left")


@pytest.mark.both_stores(only_sqlite_on_push=True)
def test_a_permission_request_of_a_draining_generation_is_answered_in_the_new_one(one: Live, shell: Shell) -> None:
    one.start()
    old = one.generation
    run = submit(one, "@@ ask rm -rf build", "asking")
    until_sync(lambda: one.call("GET", f"/api/tasks/{run}/permissions").body["permissions"], "it asks")
    assert shell("restart").code == 0
    until_sync(lambda: one.health["generation"] == 2, "the new one answers")
    assert old in one.generations

    answer = one.call("POST", f"/api/tasks/{run}/permissions/p1", {"answer": "allow"})

    ended = wait_status(one, run, "cancelled", "failed", "succeeded")
    assert (answer.status, ended["result"], ended["attempt"]) == (200, "allow", 1)
    until_sync(lambda: old not in one.generations, "the old generation has ended, as no run is left")


@pytest.mark.both_stores(only_sqlite_on_push=True)
def test_a_client_of_the_old_generation_gets_the_answer_of_a_run_of_the_new_one(
    live: Callable[..., Live],
) -> None:
    one = live(config={"agents": {"list": [ECHO | {"max_concurrent": 1}]}})
    one.home.chmod(0o700)
    one.start()
    first = submit(one, "@@ ask go on", "first")
    until_sync(lambda: one.call("GET", f"/api/tasks/{first}/permissions").body["permissions"], "it asks")
    thread, answers = ask_in_background(one, "later", "second")
    until_sync(lambda: one.call("GET", "/api/tasks?status=queued").body["tasks"], "the second run is queued")

    assert Shell(one.env, one.home)("restart").code == 0
    until_sync(lambda: one.health["generation"] == 2, "the new one answers")
    assert answers == []
    one.call("POST", f"/api/tasks/{first}/permissions/p1", {"answer": "allow"})
    thread.join()

    assert (answers[0].status, answers[0].body["reply"]) == (200, "echo: later")


@pytest.mark.both_stores(only_sqlite_on_push=True)
def test_the_last_run_that_the_old_generation_accepts_is_run_by_the_new_one_at_once(one: Live, shell: Shell) -> None:
    """A request whose body arrives when the new generation leads already, and has found nothing to rescue."""
    one.start()
    body = json.dumps({"input": "late", "session": "late"}).encode()
    head = (
        f"POST /api/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {one.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE) as late:
        late.sendall(head.encode())
        assert b"100 Continue" in late.recv(1024)

        assert shell("restart").code == 0
        late.sendall(body)
        answer = http.client.HTTPResponse(late)
        answer.begin()
        run = json.loads(answer.read())["task"]["id"]

    assert wait_status(one, run, "succeeded", "failed")["status"] == "succeeded"


@pytest.mark.both_stores
def test_two_generations_on_one_store_claim_each_run_once(one: Live, shell: Shell) -> None:
    effects = one.home / "effects.txt"
    program = f"import sys; print(sys.stdin.read(), file=open({str(effects)!r}, 'a'))"
    agent = {"id": "main", "backend": "command", "command": [sys.executable, "-c", program], "max_concurrent": 4}
    one.config.write_text(json.dumps({"gateway": {"port": 0}, "agents": {"list": [agent]}}))
    one.start()

    runs = []
    for restart in range(3):
        runs += [submit(one, f"{restart}-{number}", f"{restart}-{number}") for number in range(20)]
        assert shell("restart").code == 0
    ended = [wait_status(one, run, "succeeded", "failed") for run in runs]

    assert {run["status"] for run in ended} == {"succeeded"}
    assert sorted(effects.read_text().split()) == sorted(run["input"] for run in ended)


def test_an_agent_that_restarts_its_gateway_restarts_it_once_and_succeeds(one: Live) -> None:
    words = [sys.executable, "-m", "cli.main", "restart"]
    program = f"import os, subprocess, sys; os.environ['MOONGATE_HOME'] = {str(one.home)!r}; " + (
        f"sys.exit(subprocess.run({words!r}).returncode)"
    )
    agent = {"id": "main", "backend": "command", "command": [sys.executable, "-c", program]}
    one.config.write_text(json.dumps({"gateway": {"port": 0}, "agents": {"list": [agent]}}))
    one.start()

    run = submit(one, "restart yourself", "self")
    ended = wait_status(one, run, "succeeded", "failed", "cancelled")

    assert (ended["status"], ended["attempt"]) == ("succeeded", 1), ended
    assert "generation 1 → 2" in ended["result"]
    assert one.health["generation"] == 2
    assert len(one.logged("restart.begun")) == 1


def test_simultaneous_restart_requests_are_all_answered(one: Live, shell: Shell) -> None:
    one.start()

    asked = [shell.start("restart") for _ in range(6)]
    codes = [process.wait(PATIENCE) for process in asked]
    for process in asked:
        process.communicate()

    assert codes == [0] * 6
    assert 2 <= one.health["generation"] <= 7


def test_a_restart_request_is_answered_even_if_another_restart_begins_at_the_same_moment(
    one: Live, shell: Shell
) -> None:
    one.start()
    one.signal(signal.SIGSTOP)
    asked = shell.start("restart")
    until_sync(lambda: list(one.home.glob("locks/*.restart")), "the intent file exists")
    one.call("POST", "/api/gateway/restart", {})
    one.signal(signal.SIGHUP)
    one.signal(signal.SIGCONT)

    told = asked.communicate(timeout=PATIENCE)

    assert asked.returncode == 0, told


#: the check of a config waits until the test lets it continue
SLOW_REHEARSAL = """
import os, pathlib, sys, time
if "GatewayError" in "".join(sys.orig_argv):
    here = pathlib.Path(os.environ["MOONGATE_HOME"])
    (here / "rehearses").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
"""


def test_a_stop_signal_during_the_reexec_of_the_supervisor_is_obeyed(live: Callable[..., Live]) -> None:
    one = live()
    one.home.chmod(0o700)
    (one.home / "sitecustomize.py").write_text(SLOW_REHEARSAL)
    one.env["PYTHONPATH"] = str(one.home)
    one.start()
    restart = Shell(one.env, one.home).start("restart", "--hard")
    until_sync((one.home / "rehearses").exists, "it checks the config of its successor")

    one.signal(signal.SIGTERM)
    (one.home / "go").touch()

    assert one.process is not None
    assert one.process.wait(PATIENCE) == 0
    assert one.logged("supervisor.stopping")[-1]["signal"] == "SIGTERM"
    restart.communicate(timeout=PATIENCE)


def test_changed_timeouts_apply_from_the_next_restart(one: Live, shell: Shell) -> None:
    one.start()
    settings = json.loads(one.config.read_text())
    settings["gateway"]["drain_timeout"] = 0.5
    one.config.write_text(json.dumps(settings))

    assert shell("restart").code == 0

    assert one.wait_logged("gateway.ending")[-1]["grace"] == 0.5


@pytest.mark.parametrize("way", [[], ["--hard"]], ids=["plain", "hard"])
def test_an_edit_while_the_new_generation_starts_waits_for_the_next_restart(
    live: Callable[..., Live], way: list[str]
) -> None:
    """Supervisor, generation, data lock and last good copy are all of the version that the restart read."""
    one = live()
    one.home.chmod(0o700)
    write_version(one, "first", 1.0)
    faults.able(one).start()
    shell, go = Shell(one.env, one.home), one.home / "go"
    faults.give(one, f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n")
    meant = write_version(one, "second", 2.0)
    restart = shell.start("restart", *way)
    one.wait_logged("generation.started", 2)

    later = write_version(one, "third", 3.0)
    go.touch()

    assert "generation 1 → 2" in restart.communicate(timeout=PATIENCE)[0]
    assert version_of(one) == "second"
    assert one.config.with_name("config.json.last-good").read_text() == meant
    assert (one.home / "second" / "gateway.lock").exists()
    assert not (one.home / "third").exists()
    assert shell("restart").code == 0
    assert version_of(one) == "third"
    assert one.config.with_name("config.json.last-good").read_text() == later
    assert one.stop() == 0
    assert one.logged("supervisor.stopping")[-1]["grace"] == 3.0


def test_a_refused_restart_leaves_the_times_of_the_supervisor_as_they_were(one: Live, shell: Shell) -> None:
    write_version(one, "first", 1.0)
    one.start()
    settings = json.loads(write_version(one, "second", 2.0))
    settings["agents"]["list"][0]["backend"] = "ecko"
    one.config.write_text(json.dumps(settings))

    assert shell("restart").code == 1

    assert one.stop() == 0
    assert one.logged("supervisor.stopping")[-1]["grace"] == 1.0


def test_a_generation_of_a_supervisor_that_hands_no_config_over_reads_it(one: Live) -> None:
    """As that of 0.1.0 does after an upgrade in place."""
    write_version(one, "first", 1.0)
    faults.give(faults.able(one), "import os\nos.environ.pop('MOONGATE_CONFIG_FD')\n")

    one.start()

    assert version_of(one) == "first"


def write_version(live: Live, name: str, grace: float) -> str:
    """Write a config whose version shows in the agent, in the data directory, and in how the gateway stops."""
    text = json.dumps(
        {
            "gateway": {"port": 0, "stop_grace": grace},
            "agents": {"list": [ECHO | {"id": name}]},
            "data": {"directory": str(live.home / name)},
        }
    )
    live.config.write_text(text)
    return text


def version_of(live: Live) -> str:
    """Return the version that is served: its agent answers, and its data directory has the database."""
    (agent,) = live.call("GET", "/api/agents").body["agents"]
    assert (live.home / agent["id"] / "moongate.db").exists()
    return str(agent["id"])


def test_after_a_crash_the_generation_that_is_starting_takes_over(one: Live, shell: Shell) -> None:
    faults.able(one).start()
    old = one.generation
    go = one.home / "go"
    faults.give(one, f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n")
    restart = shell.start("restart")
    until_sync(lambda: len(one.generations) == 2, "the new one starts")

    one.signal(signal.SIGKILL, old)
    one.wait_logged("generation.crashed")
    go.touch()

    assert "generation 1 → 2" in restart.communicate(timeout=PATIENCE)[0]
    assert one.health["generation"] == 2
    assert len(one.logged("generation.started")) == 2


def test_a_stop_ends_a_generation_that_waits_to_migrate(one: Live, shell: Shell) -> None:
    faults.able(one).start()
    run = submit(one, "@@ hang", "hanging")
    wait_status(one, run, "running")
    faults.give(one, faults.PENDING_MIGRATION)
    restart = shell.start("restart")
    one.wait_logged("gateway.ending")

    assert shell("stop", "--timeout", "2000").code == 0

    restart.communicate(timeout=PATIENCE)
    ended = {line["generation"]: line["code"] for line in one.logged("generation.ended")}
    assert ended == {1: 0, 2: 0}
    assert one.logged("generation.killed") == []


def test_a_hard_restart_keeps_the_process_and_leaks_nothing(one: Live, shell: Shell) -> None:
    one.start()
    assert one.process is not None
    process = psutil.Process(one.process.pid)
    assert shell("restart", "--hard").code == 0
    settle(one)
    before = process.num_fds(), one.record

    for _ in range(4):
        assert shell("restart", "--hard").code == 0
        settle(one)

    until_sync(lambda: process.num_fds() <= before[0], "no descriptor is left over")
    assert len(one.logged("supervisor.re-executes")) == 5
    assert one.record is not None
    assert before[1] is not None
    assert (one.record.pid, one.record.instance, one.record.port) == (before[1].pid, before[1].instance, before[1].port)
    assert process.memory_full_info().uss < 25e6


def settle(live: Live) -> Identity:
    """Wait until only the new generation is left."""
    return live.generation


def test_a_restart_moves_to_a_changed_port(one: Live, shell: Shell, free_port: int) -> None:
    before = ports.free()  # reserved, so that no other test gets it while this one checks that it is closed
    settings = json.loads(one.config.read_text())
    settings["gateway"]["port"] = before
    one.config.write_text(json.dumps(settings))
    one.start()
    settings["gateway"]["port"] = free_port
    one.config.write_text(json.dumps(settings))

    assert shell("restart", "--hard").code == 0

    assert (one.port, one.health["generation"]) == (free_port, 2)
    settle(one)
    with pytest.raises(OSError, match=r"refused|reset"):
        urllib.request.urlopen(f"http://127.0.0.1:{before}/livez", timeout=PATIENCE)


def test_a_restart_onto_a_port_in_use_is_refused_and_the_old_one_keeps_serving(
    one: Live, shell: Shell, live: Callable[..., Live]
) -> None:
    other = live("other").start()
    one.start()
    before = one.port
    settings = json.loads(one.config.read_text())
    settings["gateway"]["port"] = other.port
    one.config.write_text(json.dumps(settings))

    result = shell("restart")

    assert result.code == 1
    assert f"Port {other.port} is already in use" in result.err
    assert (one.port, one.health["generation"]) == (before, 1)


def test_a_stop_during_a_restart_stops(one: Live, shell: Shell) -> None:
    one.env["MOONGATE_READY_TIMEOUT"] = "3600"  # this timeout must not be what ends the new generation
    faults.give(faults.able(one), "")
    one.start()
    faults.give(one, faults.NEVER_READY)
    restart = shell.start("restart")
    until_sync(lambda: len(one.generations) == 2, "the new one starts")

    assert shell("stop").code == 0

    assert restart.wait(PATIENCE) == 1
    assert "ended while it was restarting" in restart.communicate()[1]


@pytest.mark.both_stores(only_sqlite_on_push=True)
def test_a_standby_that_dies_as_its_predecessor_steps_down_is_replaced(one: Live, shell: Shell) -> None:
    """The old generation is told to step down, and then there is no generation to hand over to."""
    faults.able(one).start()
    faults.give(
        one,
        "import os\nfrom gateway import serve\n"
        "first = serve.SupervisedLifecycle.on_ready\n"
        "async def ready_and_die(self, context):\n"
        "    await first(self, context); await self._writer.drain()\n"
        "    os.unlink(os.environ['MOONGATE_TEST_FAULT']); os._exit(9)\n"
        "serve.SupervisedLifecycle.on_ready = ready_and_die\n",
    )
    # The module runs as the program; it uses this patched copy of itself.
    faults.give(one, (one.home / "fault.py").read_text() + "import sys\n" + AS_PROGRAM)

    result = shell("restart")

    until_sync(lambda: one.health["generation"] == 3, "another one serves")
    led = [line["generation"] for line in one.logged("generation.leads")]
    assert (result.code, led) in [(1, [1, 3]), (0, [1, 2, 3])]  # it may have led for a moment
    assert one.health["status"] == "healthy"


#: runs the patched module in place of a fresh copy
AS_PROGRAM = "sys.argv[:] = sys.orig_argv[2:]\nraise SystemExit(serve.main(sys.orig_argv[3:]))\n"


def test_garbage_collection_is_enabled_once_a_generation_is_ready(one: Live) -> None:
    """It is disabled while the generation loads."""
    told = one.home / "told"
    fault = (
        "import gc\nfrom pathlib import Path\nfirst = gc.enable\n"
        "def enable():\n"
        "    before = gc.isenabled(); first()\n"
        f"    with Path({str(told)!r}).open('a') as file: print(before, gc.isenabled(), file=file)\n"
        "gc.enable = enable\n"
    )
    faults.give(faults.able(one), fault)

    one.start()

    until_sync(lambda: told.exists() and "False True\n" in told.read_text(), "garbage collection is enabled")


def test_sighup_applies_changed_settings(one: Live) -> None:
    one.start()
    settings = json.loads(one.config.read_text())
    settings["agents"]["list"].append(ECHO | {"id": "further"})
    one.config.write_text(json.dumps(settings))

    before = one.record, one.generation

    one.signal(signal.SIGHUP)

    until_sync(lambda: one.health["generation"] == 2, "a new generation answers")
    assert "further" in json.dumps(one.call("GET", "/api/agents").body)
    assert one.record == before[0]
    assert one.generation != before[1]
