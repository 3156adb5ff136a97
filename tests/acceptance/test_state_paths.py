"""Files of a running gateway that are wrong, exchanged or gone: it goes on, and says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import paths
from gateway.supervisor import lock
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX files and signals")]


@pytest.fixture
def one(live: Callable[..., Live]) -> Live:
    made = live()
    made.home.chmod(0o700)
    return made


@pytest.fixture
def shell(one: Live) -> Shell:
    return Shell(one.env, one.home)


# --- settings that cannot be read -------------------------------------------------------------

BAD_ENV_FILE = b"# caf\xe9\nMOONGATE_LOG_LEVEL=info\n"


def test_a_restart_with_an_unreadable_env_file_is_refused_and_the_gateway_goes_on(one: Live, shell: Shell) -> None:
    one.start()
    (one.home / ".env").write_bytes(BAD_ENV_FILE)

    refused = shell("restart")
    one.signal(signal.SIGHUP)
    until_sync(lambda: len(one.logged("restart.failed")) == 2, "the second restart has failed, too")

    assert refused.code == 1
    assert ".env: line 1: not valid UTF-8" in refused.err
    assert (one.health["generation"], one.health["status"]) == (1, "degraded")
    (one.home / ".env").unlink()
    assert shell("restart").code == 0
    assert one.health["status"] == "healthy"


@pytest.mark.parametrize("bad", ["env file", "data directory"])
def test_after_a_crash_with_unreadable_settings_the_last_good_ones_are_used(one: Live, shell: Shell, bad: str) -> None:
    one.start()
    good = one.config.read_text()
    if bad == "env file":
        (one.home / ".env").write_bytes(BAD_ENV_FILE)
    else:
        one.config.write_text(json.dumps(json.loads(good) | {"data": {"directory": "~nosuchuser/x"}}))

    one.signal(signal.SIGKILL, one.generation)
    one.wait_led()

    assert one.call("POST", "/api/agent", {"message": "hi"}).body["reply"] == "echo: hi"
    assert one.health["status"] == "degraded"
    assert ("line 1" if bad == "env file" else "nosuchuser") in one.health["checks"]["config"]
    (one.home / ".env").unlink(missing_ok=True)
    one.config.write_text(good)
    assert shell("restart").code == 0
    assert one.health["status"] == "healthy"


def test_an_exception_that_nobody_foresaw_does_not_end_the_supervisor(live: Callable[..., Live]) -> None:
    one = live()
    one.home.chmod(0o700)
    one.env["PYTHONPATH"] = str(one.home)
    (one.home / "sitecustomize.py").write_text(
        "from gateway.supervisor.config_history import ConfigHistory\n"
        "first, asked = ConfigHistory.take_reading, []\n"
        "def take_reading(self, env):\n"
        "    asked.append(1)\n"
        "    if len(asked) == 2: raise KeyError('surprise')\n"
        "    return first(self, env)\n"
        "ConfigHistory.take_reading = take_reading\n"
    )
    one.start()
    shell = Shell(one.env, one.home)

    refused = shell("restart")

    assert refused.code == 1
    assert "it failed unexpectedly" in refused.err
    (told,) = one.logged("supervisor.step_failed")
    assert (told["level"], told["error"]) == ("error", "KeyError: 'surprise'")
    assert shell("restart").code == 0


# --- the wrong thing in the place of a file ---------------------------------------------------


@pytest.mark.parametrize("name", ["token", "webhook-secret", ".env", "config.json"])
@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_a_start_refuses_what_is_no_file_and_doctor_says_the_same(
    one: Live, shell: Shell, name: str, kind: str
) -> None:
    path = one.home / name
    path.unlink(missing_ok=True)
    path.mkdir() if kind == "directory" else os.mkfifo(path)

    started, examined = shell("start"), shell("doctor")

    said = f"it is a {kind}, not a plain file"
    assert (started.code, started.err.count("\n"), said in started.err) == (78, 1, True), started
    assert name in started.err
    assert examined.code == 1
    assert said in examined.out
    assert shell("status").code == 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, kind) for name in ("logs", "locks", "data") for kind in ("file", "pipe")),
        *((name, kind) for name in ("gateway.log", "gateway.start", "moongate.db") for kind in ("directory", "pipe")),
    ],
)
def test_a_start_refuses_the_wrong_thing_in_the_state_directory(one: Live, shell: Shell, name: str, kind: str) -> None:
    folder = {"gateway.log": "logs", "gateway.start": "logs", "moongate.db": "data"}.get(name, "")
    path = one.home / folder / name
    path.parent.mkdir(exist_ok=True, mode=0o700)
    {"file": path.touch, "directory": path.mkdir, "pipe": lambda: os.mkfifo(path)}[kind]()

    started, examined = shell("start"), shell("doctor")

    assert started.code == 78, started
    assert name in started.err
    assert started.err.count("\n") == 1
    if kind == "file":
        assert f"~/{name} is not a directory. Move it away" in started.err
    assert examined.code == 1
    assert any(line.startswith("error") and name in line for line in examined.out.splitlines()), examined


@pytest.mark.parametrize("name", ["token", "webhook-secret", ".env"])
def test_doctor_names_a_link_that_leads_nowhere_as_a_start_does(one: Live, shell: Shell, name: str) -> None:
    path = one.home / name
    path.unlink(missing_ok=True)
    path.symlink_to("gone")

    started, examined = shell("start"), shell("doctor")

    assert (started.code, examined.code) == (78, 1)
    assert "it is a link" in started.err
    assert f"cannot use ~/{name}" in examined.out
    assert "it is a link" in examined.out


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_doctor_names_a_state_directory_that_is_none(one: Live, shell: Shell, kind: str) -> None:
    place = one.home / "state"
    place.touch() if kind == "file" else place.symlink_to("gone")

    examined = shell("doctor", env={"MOONGATE_HOME": str(place)})

    assert examined.code == 1
    assert "cannot use ~/state\n     why: it is not a directory\n" in examined.out


def test_a_state_directory_that_is_a_file_is_told_at_once(one: Live, shell: Shell) -> None:
    file = one.home / "file"
    file.touch()

    result = shell("start", env={"MOONGATE_HOME": str(file)})

    assert result.code == 78
    assert "file" in result.err


@pytest.mark.parametrize("place", ["config file", "variable"])
def test_a_data_directory_that_cannot_be_used_is_told_with_the_place_that_names_it(
    one: Live, shell: Shell, place: str
) -> None:
    data = one.home / "taken"
    data.write_text("a file")
    if place == "variable":
        shell.env["MOONGATE_DATA_DIR"] = str(data)
    else:
        one.config.write_text(json.dumps(json.loads(one.config.read_text()) | {"data": {"directory": str(data)}}))

    result = shell("start")

    where = "MOONGATE_DATA_DIR" if place == "variable" else "~/config.json"
    assert (result.code, result.err.startswith(f"{where}: data.directory: cannot open the lock file")) == (78, True)
    assert "~/taken is not a directory" in result.err


@pytest.mark.parametrize("home", ["", "somewhere"])
@pytest.mark.parametrize("command", ["start", "status", "run", "doctor"])
def test_a_home_directory_that_is_none_is_told_at_once(one: Live, shell: Shell, home: str, command: str) -> None:
    shell.env.pop("MOONGATE_HOME")
    shell.env["HOME"] = home

    result = shell(command)

    assert result.code == 78
    assert result.err.startswith("HOME: 'somewhere' is not an absolute path." if home else "HOME: is empty.")
    assert not (one.home / "somewhere").exists()


def test_a_relative_data_directory_of_a_variable_counts_from_where_the_user_is(one: Live, shell: Shell) -> None:
    here = one.home / "here"
    here.mkdir()
    shell.cwd = here
    shell.env["MOONGATE_DATA_DIR"] = "data"

    assert shell("start").code == 0

    assert shell("stop").code == 0
    assert (here / "data" / "moongate.db").exists()
    assert not (one.home / "data").exists()


@pytest.mark.parametrize("name", ["MOONGATE_HOME", "HOME", "MOONGATE_CONFIG", "MOONGATE_DATA_DIR"])
def test_a_path_that_is_not_utf_8_is_told_at_once(one: Live, shell: Shell, name: str) -> None:
    place = os.fsdecode(os.fsencode(one.home) + b"/caf\xe9")
    os.mkdir(place)
    shell.env.pop("MOONGATE_HOME") if name == "HOME" else None
    shell.env[name] = place

    result = shell("start")

    assert result.code == 78
    assert "not valid UTF-8" in result.err
    assert name in result.err


# --- links ------------------------------------------------------------------------------------


@pytest.fixture
def linked(one: Live) -> Live:
    """A gateway whose config is reached through a link to a directory, as with releases."""
    for version in ("v1", "v2"):
        (one.home / version).mkdir()
        shutil.copy(one.config, one.home / version / "config.json")
    (one.home / "current").symlink_to("v1")
    one.config.unlink()
    one.config = one.home / "current" / "config.json"
    one.env["MOONGATE_CONFIG"] = str(one.config)
    one.log = paths.log_file(one.home, one.config)
    return one


def change_target(one: Live) -> None:
    (one.home / "next").symlink_to("v2")
    (one.home / "next").replace(one.home / "current")


@pytest.mark.parametrize("command", [["status"], ["restart"], ["restart", "--hard"], ["stop"], ["logs"]])
def test_a_link_that_gets_another_target_does_not_hide_the_gateway(linked: Live, command: list[str]) -> None:
    linked.start()
    change_target(linked)

    result = Shell(linked.env, linked.home)(*command)

    assert result.code == 0, result
    assert linked.config.parent.resolve().name == "v2"


def name_lock_by_target(one: Live) -> None:
    """Give the running gateway's lock the name that version 0.1.0 gave it: after the target of the link."""
    now = paths.lock_file(one.home, one.config)
    now.rename(paths.lock_file(one.home, one.config.resolve()))


def test_a_gateway_of_the_version_before_is_found_and_stopped_by_the_name_of_its_lock(linked: Live) -> None:
    linked.start()
    name_lock_by_target(linked)
    change_target(linked)
    shell = Shell(linked.env, linked.home)

    assert shell("status").code == 0
    assert shell("start").out.startswith("Gateway is already running")
    assert shell("stop").code == 0
    assert shell("status").code == 3


def test_a_second_gateway_is_refused_while_one_of_the_version_before_runs(linked: Live) -> None:
    linked.start()
    name_lock_by_target(linked)
    first = linked.process
    assert first is not None

    linked.start(wait=False)
    assert linked.process is not None

    assert linked.process.wait(60) == 75
    assert f"already running with this configuration (pid {first.pid}" in linked.output.read_text()
    first.terminate()
    assert first.wait(60) == 0


def test_another_path_of_the_same_config_finds_the_gateway(linked: Live) -> None:
    linked.start()
    direct = Shell({**linked.env, "MOONGATE_CONFIG": str(linked.config.resolve())}, linked.home)

    assert direct("status").code == 0
    assert direct("restart").code == 0
    assert direct("stop").code == 0


def test_a_gateway_whose_lock_file_is_gone_is_found_by_the_lock_of_its_data(one: Live, shell: Shell) -> None:
    one.start()
    file = paths.lock_file(one.home, one.config)
    file.unlink()

    assert shell("status").code == 0
    assert shell("restart").code == 0
    found = lock.lock_holder(paths.data_lock_file(one.home / "data"))
    assert found is not None
    assert one.process is not None
    assert found.pid == one.process.pid
    assert shell("stop").code == 0


# --- the log ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["removed", "moved", "with its directory"])
def test_a_log_that_is_gone_is_made_again(one: Live, way: str) -> None:
    one.start()
    one.wait_logged("generation.leads")
    match way:
        case "removed":
            one.log.unlink()
        case "moved":
            one.log.rename(one.log.with_name("old.log"))
        case _:
            shutil.rmtree(one.log.parent)

    one.signal(signal.SIGHUP)

    until_sync(lambda: one.log.exists() and one.logged("generation.leads"), "the new log has the new generation")
    assert one.log.stat().st_mode & 0o777 == 0o600
    assert not Path(one.home / "logs" / "gateway.log.1").exists()
