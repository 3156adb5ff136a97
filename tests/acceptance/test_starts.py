"""Many simultaneous starts, stops and status checks: one winner, clear losers, no false answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from gateway import paths
from gateway.process import identity
from gateway.process.identity import Identity
from gateway.supervisor import lock
from harness import faults
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync
from tests.support import ports

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]


@pytest.fixture
def one(live: Callable[..., Live]) -> Live:
    made = live()
    made.home.chmod(0o700)
    return made


@pytest.fixture
def shell(one: Live) -> Shell:
    return Shell(one.env, one.home)


@contextlib.contextmanager
def stranger() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A foreign program that listens on a port, which no other one is given when it ends."""
    program = (
        f"import socket, sys; s = socket.create_server(('127.0.0.1', {ports.free()}));"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


# --- many at once -----------------------------------------------------------------------------


def test_of_fifty_simultaneous_gateways_one_wins_and_all_others_say_why(one: Live) -> None:
    words = ["nice", sys.executable, "-m", "gateway"]  # other tests need the processor, too
    files = [one.home / f"said-{number}.txt" for number in range(50)]
    processes = []
    for file in files:
        with file.open("w") as said:
            processes.append(subprocess.Popen(words, env=one.env, cwd=one.home, stdout=said, stderr=said))

    until_sync(
        lambda: sum(process.poll() is not None for process in processes) >= 49, "all but one ended", 5 * PATIENCE
    )
    (winner,) = [process for process in processes if process.poll() is None]
    one.process = winner  # type: ignore[assignment]
    one.wait_ready()

    losers = [(process, file) for process, file in zip(processes, files, strict=True) if process is not winner]
    assert {process.returncode for process, _ in losers} == {75}
    assert all("already running with this configuration" in file.read_text() for _, file in losers)
    assert one.record is not None
    assert one.record.pid == winner.pid


def test_many_simultaneous_starts_start_one_gateway_and_all_succeed(one: Live, shell: Shell) -> None:
    starts = [shell.start("start", "--json") for _ in range(10)]
    told = [json.loads(process.communicate(timeout=3 * PATIENCE)[0]) for process in starts]

    assert {process.returncode for process in starts} == {0}
    assert one.record is not None
    assert {answer["pid"] for answer in told} == {one.record.pid}
    assert shell("start").out.startswith("Gateway is already running")


def test_a_start_waits_for_a_faster_one_that_has_not_written_its_record_yet(one: Live, shell: Shell) -> None:
    held = lock.acquire_lock(paths.lock_file(one.home, one.config))

    waited = shell("start", "--wait", "3s")
    output = paths.start_output_file(one.home, one.config)
    until_sync(lambda: "already running" in output.read_text(), "the gateway that it started has given up")
    held.release()

    assert waited.code == 75
    assert "the gateway does not answer after 3 s." in waited.err


@pytest.mark.parametrize("name", ["MOONGATE_CONFIG", "MOONGATE_HOME"])
def test_relative_paths_start_at_the_callers_directory(one: Live, name: str) -> None:
    place = {"MOONGATE_CONFIG": one.config, "MOONGATE_HOME": one.home}[name]
    nearby = Shell({**one.env, name: str(place.relative_to(one.home.parent))}, one.home.parent)

    assert nearby("start").code == 0

    assert one.record is not None
    assert one.record.configPath == str(one.config)
    assert nearby("stop").code == 0


def test_a_gateway_whose_agents_are_all_disabled_starts_and_says_so(live: Callable[..., Live]) -> None:
    one = live(config={"agents": {"list": [{"id": "main", "backend": "echo", "enabled": False}]}})

    one.start()
    one.wait_logged("generation.leads")

    assert "Agent    none: no agent is enabled." in one.output.read_text()
    assert one.call("POST", "/api/agent", {"message": "hello"}).status == 404
    assert one.logged("generation.crashed") == []


def test_a_start_during_a_stop_starts_after_the_stop(one: Live, shell: Shell) -> None:
    assert shell("start").code == 0
    assert one.record is not None
    before = one.record.pid
    run = submit(one, "@@ hang")
    until_sync(lambda: one.call("GET", f"/api/tasks/{run}").body["task"]["status"] == "running", "it runs")
    stop = shell.start("stop", "--timeout", "1500")
    one.wait_logged("gateway.ending")

    started = shell("start", "--json")

    assert started.code == 0, started
    assert started.json["started"]
    assert started.json["pid"] != before
    stop.communicate(timeout=PATIENCE)
    assert stop.returncode == 0


def test_two_configs_of_one_state_directory_have_logs_of_their_own(one: Live, shell: Shell) -> None:
    other = one.home / "other.json"
    other.write_text(json.dumps({"gateway": {"port": 0}, "data": {"directory": str(one.home / "other")}}))
    words = ["--config", str(other)]
    try:
        assert shell("start").code == 0
        assert shell("start", *words).code == 0

        first, second = shell("logs", "--json"), shell("logs", "--json", *words)

        assert [line["event"] for line in first.lines].count("supervisor.started") == 1
        assert [line["event"] for line in second.lines].count("supervisor.started") == 1
        assert first.lines[0]["pid"] != second.lines[0]["pid"]
    finally:
        assert shell("stop", *words).code == 0


def test_two_configs_run_two_gateways(live: Callable[..., Live]) -> None:
    first, second = live("one").start(), live("two").start()

    assert first.port != second.port
    assert first.health["instance"] != second.health["instance"]


# --- death of the supervisor ------------------------------------------------------------------


def submit(live: Live, text: str) -> str:
    return str(live.call("POST", "/api/tasks", {"input": text}).body["task"]["id"])


def test_generations_end_with_their_supervisor_and_lose_no_run(live: Callable[..., Live], free_port: int) -> None:
    asks = {"id": "main", "backend": "echo", "script": True, "permissions": "ask"}
    one = live(config={"gateway": {"port": free_port}, "agents": {"list": [asks]}})
    one.home.chmod(0o700)
    one.start()
    generation, port = one.generation, one.port
    run = submit(one, "@@ ask go on")
    asked = f"/api/tasks/{run}/permissions"
    until_sync(lambda: one.call("GET", asked).body["permissions"], "it asks")
    assert one.process is not None

    one.process.kill()
    one.process.wait(PATIENCE)
    until_sync(lambda: not answers(port), "the port is closed")
    until_sync(lambda: not identity.is_alive(generation), "it has ended")

    assert Shell(one.env, one.home)("start").code == 0
    until_sync(lambda: len(one.call("GET", asked).body["permissions"]) == 2, "it asks again")
    one.call("POST", f"{asked}/p2", {"answer": "allow"})
    until_sync(lambda: one.call("GET", f"/api/tasks/{run}").body["task"]["status"] == "succeeded", "it is done")


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_start_waits_for_leftover_processes_of_a_killed_gateway(live: Callable[..., Live], free_port: int) -> None:
    one = live(config={"gateway": {"port": free_port}}).start()
    one.home.chmod(0o700)
    assert one.process is not None
    one.process.kill()
    one.process.wait(PATIENCE)

    assert Shell(one.env, one.home)("start").code == 0

    assert one.port == free_port


def test_a_hanging_generation_does_not_outlive_its_supervisor_forever(live: Callable[..., Live]) -> None:
    one = faults.able(live())
    faults.give(one, faults.HANGS_ON_SIGWINCH)
    one.start()
    hung = one.generation
    one.signal(signal.SIGWINCH, hung)
    assert one.process is not None

    one.process.kill()
    one.process.wait(PATIENCE)

    until_sync(lambda: not identity.is_alive(hung), "it has ended")


# --- locks with wrong content -----------------------------------------------------------------


def forge(live: Live, who: Identity, port: int) -> None:
    lock = paths.lock_file(live.home, live.config)
    lock.parent.mkdir(parents=True, exist_ok=True)
    about = {"pid": who.pid, "startTime": who.started, "bootId": who.boot, "port": port, "host": "127.0.0.1"}
    lock.write_text(
        json.dumps(about | {"createdAt": 0, "configPath": str(live.config), "instance": "forged", "version": "0"})
    )


@pytest.mark.parametrize("content", ["", "{", "null", "\x00" * 100, "[" * 100_000, '{"pid": -1}', '{"pid": 1e999}'])
def test_garbage_in_the_lock_file_does_no_harm(one: Live, shell: Shell, content: str) -> None:
    lock = paths.lock_file(one.home, one.config)
    lock.parent.mkdir(parents=True)
    lock.write_text(content)

    assert shell("status").code == 3
    assert shell("stop").code == 3
    assert one.start().call("GET", "/livez").status == 200


@pytest.mark.parametrize("command", [["stop"], ["stop", "--force"], ["restart"]])
def test_a_recycled_pid_is_not_signalled(one: Live, shell: Shell, command: list[str]) -> None:
    with stranger() as (process, port):
        who = identity.identify_process(process.pid)
        assert who is not None
        forge(one, who._replace(started=str(int(who.started) - 1)), port)

        result = shell(*command)

        assert result.code == 3
        assert process.poll() is None


@pytest.mark.parametrize("command", [["stop"], ["stop", "--force"], ["restart"], ["restart", "--hard"]])
def test_a_record_in_a_free_lock_is_not_taken_for_a_gateway(one: Live, shell: Shell, command: list[str]) -> None:
    with stranger() as (process, port):
        who = identity.identify_process(process.pid)
        assert who is not None
        forge(one, who, port)

        assert shell(*command).code == 3
        assert process.poll() is None


def test_a_record_in_a_free_lock_does_not_delay_a_start(one: Live, shell: Shell) -> None:
    with stranger() as (process, port):
        who = identity.identify_process(process.pid)
        assert who is not None
        forge(one, who, port)

        assert shell("start").code == 0
        assert process.poll() is None


def test_a_lock_that_is_a_link_is_neither_read_nor_followed(one: Live, shell: Shell) -> None:
    target = one.home / "precious"
    target.write_text("precious")
    lock = paths.lock_file(one.home, one.config)
    lock.parent.mkdir(parents=True)
    lock.symlink_to(target)

    result = shell("start")

    assert (result.code, target.read_text()) == (78, "precious")
    assert lock.name in result.err


def test_a_pipe_in_place_of_the_lock_blocks_nobody(one: Live, shell: Shell) -> None:
    lock = paths.lock_file(one.home, one.config)
    lock.parent.mkdir(parents=True)
    os.mkfifo(lock)

    assert shell("status").code == 3
    assert shell("start").code == 78


def test_a_forged_resume_variable_is_ignored(one: Live) -> None:
    kept = {"listener": 0, "lock": 1, "instance": "x", "kept": [], "number": 7, "intents": [], "who": "1/2/3"}
    for hostile in (json.dumps(kept), "{", "[]", "7", "[" * 100_000):
        one.env["MOONGATE_RESUME"] = hostile
        one.start()
        assert (one.health["generation"], len(one.health["instance"])) == (1, 16)
        assert one.stop() == 0


# --- the port ---------------------------------------------------------------------------------


def test_a_taken_port_is_explained(one: Live, shell: Shell) -> None:
    with stranger() as (process, port):
        result = shell("start", "--port", str(port))

        assert result.code == 75
        assert f"Port {port} is already in use. Use --force to kill existing process." in result.err
        assert f"Held by pid {process.pid}" in result.err


def test_force_takes_the_port_from_another_gateway_of_the_same_home(live: Callable[..., Live], free_port: int) -> None:
    first = live("first", config={"gateway": {"port": free_port}}).start()
    second = live("second", env={"MOONGATE_HOME": str(first.home), "MOONGATE_CONFIG": str(first.home / "other.json")})
    second.config = first.home / "other.json"
    second.config.write_text(first.config.read_text())
    second.home = first.home
    assert first.process is not None

    second.start("--force")

    assert first.process.wait(PATIENCE) == 0
    assert second.port == free_port
    second.stop()


def test_a_port_held_by_another_gateway_of_this_user_is_named_by_its_config_and_the_pid_that_status_shows(
    live: Callable[..., Live],
) -> None:
    first, second = live("first").start(), live("second")
    assert first.process is not None

    result = Shell(second.env, second.home)("start", "--port", str(first.port))

    assert result.code == 75
    assert f"Held by pid {first.process.pid} (the gateway of {first.config}" in result.err


@pytest.mark.parametrize("words", [["run"], ["start"]], ids=["run", "start"])
def test_force_takes_the_port_from_a_gateway_of_another_home(
    live: Callable[..., Live], free_port: int, words: list[str]
) -> None:
    first, second = live("first", config={"gateway": {"port": free_port}}).start(), live("second")
    second.home.chmod(0o700)
    assert first.process is not None

    if words == ["run"]:
        second.start("--force", "--port", str(free_port))
    else:
        assert Shell(second.env, second.home)("start", "--force", "--port", str(free_port)).code == 0

    assert first.process.wait(PATIENCE) == 0
    assert second.port == free_port
    assert Shell(second.env, second.home)("stop").code == 0


@pytest.mark.parametrize("command", ["start", "restart"])
def test_a_start_in_the_background_takes_the_port_of_a_stranger_only_when_told(
    one: Live, shell: Shell, command: str
) -> None:
    with stranger() as (process, port):
        write_port(one, port)

        refused = shell(command, "--force")
        assert (refused.code, process.poll()) == (75, None)
        assert "which is not a Moongate gateway of this user: --force will not touch it." in refused.err
        assert "--kill-foreign" in refused.err

        assert shell(command, "--force", "--kill-foreign").code == 0
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert one.port == port
        assert shell("stop").code == 0


def write_port(one: Live, port: int) -> None:
    settings = json.loads(one.config.read_text())
    one.config.write_text(json.dumps({**settings, "gateway": {"port": port}}))


def test_force_ends_the_gateway_with_this_config(one: Live, live: Callable[..., Live]) -> None:
    one.start()
    before = one.process
    assert before is not None

    one.start("--force")

    assert before.wait(PATIENCE) == 0
    assert one.record is not None
    assert one.record.pid != before.pid


def test_force_does_not_end_a_foreign_process_and_names_it(one: Live) -> None:
    with stranger() as (process, port):
        one.start("--port", str(port), "--force", wait=False)
        assert one.process is not None

        assert one.process.wait(PATIENCE) == 75

        assert process.poll() is None
        assert f"pid {process.pid}" in one.output.read_text()
        assert "--kill-foreign" in one.output.read_text()


def test_kill_foreign_takes_the_port_from_a_foreign_process(one: Live) -> None:
    with stranger() as (process, port):
        one.start("--port", str(port), "--kill-foreign")

        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert one.port == port


# --- exit codes -------------------------------------------------------------------------------


def test_exit_codes_of_a_gateway_that_is_not_running(shell: Shell) -> None:
    codes = {words: shell(*words.split()).code for words in ("status", "stop", "stop --force", "restart", "stop --x")}

    assert codes == {"status": 3, "stop": 3, "stop --force": 3, "restart": 3, "stop --x": 2}


def test_an_invalid_config_ends_a_start_with_exit_code_78(one: Live, shell: Shell) -> None:
    one.config.write_text(json.dumps({"gateway": {"port": 0}, "agents": {"list": [{"id": "a", "backend": "ecko"}]}}))

    result = shell("start")

    assert result.code == 78
    assert "ecko" in result.err


def test_a_forced_restart_starts_a_stopped_gateway_and_replaces_a_running_one(one: Live, shell: Shell) -> None:
    assert shell("restart", "--force").code == 0
    assert one.record is not None
    before = one.record

    assert shell("restart", "--force").code == 0

    assert one.record.pid != before.pid
    assert shell("stop").code == 0


def test_a_forced_restart_keeps_the_address_of_the_start_command(one: Live, shell: Shell, free_port: int) -> None:
    assert shell("start", "--port", str(free_port), "--host", "127.0.0.2").code == 0

    assert shell("restart", "--force").code == 0

    assert one.record is not None
    assert (one.record.port, one.record.host) == (free_port, "127.0.0.2")


def test_a_forced_restart_uses_the_current_address_of_the_settings(one: Live, shell: Shell, free_port: int) -> None:
    assert shell("start").code == 0
    one.config.write_text(json.dumps({"gateway": {"port": free_port}}))

    assert shell("restart", "--force").code == 0

    assert one.port == free_port


def on_full_disk(one: Live, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command that cannot write to any file."""
    limited = ["/bin/sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-m", "cli.main", *words]
    return subprocess.run(
        limited, env=one.env, cwd=one.home, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def test_a_gateway_can_be_stopped_on_a_full_disk(one: Live, shell: Shell) -> None:
    assert shell("start").code == 0
    assert one.record is not None

    done = on_full_disk(one, "stop")

    assert done.returncode == 0, done.stderr
    assert not one.record.is_alive


def test_a_start_on_a_full_disk_says_that_it_may_be_full(one: Live) -> None:
    done = on_full_disk(one, "start")

    assert done.returncode == 78, done.stderr
    assert "ended with exit code 78, and could not say why. Its disk may be full." in done.stderr


def test_a_restart_request_that_fails_says_why(one: Live, shell: Shell) -> None:
    assert shell("start").code == 0

    done = on_full_disk(one, "restart")

    assert done.returncode != 0
    assert "cannot ask the gateway to restart" in done.stderr
    assert one.health["generation"] == 1


def test_a_forced_stop_leaves_nothing_behind(one: Live, shell: Shell) -> None:
    assert shell("start").code == 0
    generation = one.generation
    one.signal(signal.SIGSTOP, generation)

    assert shell("stop", "--force").code == 0

    assert not identity.is_alive(generation)
