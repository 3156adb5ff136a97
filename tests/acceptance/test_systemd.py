"""The user's service under a real `systemd --user`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

import gateway
from harness.traffic import Traffic
from harness.waiting import PATIENCE, until_sync
from tests.support.login import ODD, Login

pytestmark = pytest.mark.service

SECRET = "a-secret-that-nobody-may-see-0123456789"

#: an agent that ignores SIGTERM in its first attempt, and answers in its second
STUBBORN = {
    "id": "stubborn",
    "backend": "command",
    "command": [
        "/bin/sh",
        "-c",
        "mark=/mnt/home/gwtest/tried; [ -e $mark ] && echo done && exit; trap '' TERM INT HUP; touch $mark;"
        " while :; do sleep 1; done",
    ],
}


@pytest.fixture
def login() -> Iterator[Login]:
    with contextlib.closing(Login()) as made:
        yield made


def test_an_installed_gateway_is_enabled_and_answers_and_an_uninstalled_one_leaves_nothing() -> None:
    with contextlib.closing(Login(ODD)) as login:
        login.write(login.home / "mine.txt", "")
        before = {path for path in login.home.rglob("*") if not path.is_relative_to(login.state)}

        done = login.install("--port", "0", "--token", SECRET)

        assert (login.show("UnitFileState"), login.show("ActiveState")) == ("enabled", "active")
        assert str(done["pid"]) == login.show("MainPID")
        assert "loginctl enable-linger gwtest" in "".join(done["hints"])
        assert login.call("GET", "/api/channels").status == 200
        shown = login.gateway("service-status")
        assert (shown.code, "Installed: Yes\n" in shown.out) == (0, True)
        assert "Args: -m gateway --port 0\n" in shown.out
        assert f"Working Dir: {ODD}/.moongate\n" in shown.out
        assert SECRET not in login.unit.read_text("utf-8") + login.command_lines + login.log
        assert (login.state / "token").read_text() == f"{SECRET}\n"

        assert login.gateway("uninstall", "--json").json["uninstalled"] is True

        left = {path for path in login.home.rglob("*") if not path.is_relative_to(login.state)} - before
        assert [path for path in left if not path.is_dir() or path.is_symlink()] == []
        assert (login.show("LoadState"), login.show("ActiveState")) == ("not-found", "inactive")
        assert login.health == {}


def test_the_set_up_of_an_ordinary_user_installs_the_service_and_a_second_one_keeps_it(login: Login) -> None:
    done = login.gateway("setup", "--yes", "--json")

    assert (done.code, done.json["status"], done.json["running"]) == (0, "ok", True), done.err
    assert (login.show("UnitFileState"), login.show("ActiveState")) == ("enabled", "active")
    assert "loginctl enable-linger gwtest" in done.err
    first = login.show("MainPID")
    again = login.gateway("setup", "--yes", "--json")
    assert (again.code, again.json["service"], login.show("MainPID")) == (0, done.json["service"], first)


def test_after_a_crash_the_gateway_is_back_and_clients_that_waited_are_answered(login: Login) -> None:
    supervisor = str(login.install()["pid"])
    first = login.health

    generation = login.run("cat", f"/proc/{supervisor}/task/{supervisor}/children").out.strip()
    assert login.run("kill", "-KILL", generation).code == 0
    login.wait_health(lambda health: health["generation"] > first["generation"], "another generation serves")
    assert (login.show("MainPID"), login.show("NRestarts")) == (supervisor, "0")

    assert login.run("kill", "-KILL", supervisor).code == 0
    ended = ("auto-restart", "start", "running")  # and its leftover processes have been killed
    until_sync(
        lambda: login.show("MainPID") != supervisor and login.show("SubState") in ended, "systemd has noticed", PATIENCE
    )
    answer = login.call("GET", "/health")  # one request: it waits in the socket that systemd holds

    assert (answer.status, answer.body["instance"] != first["instance"]) == (200, True)
    assert login.show("NRestarts") == "1"


@pytest.mark.parametrize("words", [[], ["--host", "0.0.0.0"]], ids=["same address", "another address"])
def test_after_a_crash_with_a_moved_program_it_can_be_installed_again(login: Login, words: list[str]) -> None:
    login.hasten()
    number = login.install()["url"].rpartition(":")[2]
    login.write(
        login.state / "config.json", (login.state / "config.json").read_text().replace('"port": 0', f'"port": {number}')
    )
    assert login.gateway("restart").code == 0
    supervisor = login.show("MainPID")
    login.write(login.unit, login.unit.read_text().replace("/mnt/moongate/bin/python", "/mnt/moved/bin/python"))
    assert login.systemctl("daemon-reload").code == 0
    assert login.run("kill", "-KILL", supervisor).code == 0
    login.wait_state("activating")  # it is tried again and again, and systemd keeps the socket meanwhile
    assert login.show("NFileDescriptorStore") == "1"

    installed = login.install(*words)

    assert installed["url"].endswith(f":{number}")
    assert login.show("ActiveState") == "active"


def test_a_supervisor_that_hangs_is_replaced(login: Login) -> None:
    login.hasten(WatchdogSec="8s")
    supervisor = str(login.install()["pid"])
    instance = login.health["instance"]

    assert login.run("kill", "-STOP", supervisor).code == 0  # it can do nothing by itself any more

    login.wait_health(lambda health: health["instance"] != instance, "another one answers")
    assert login.show("MainPID") != supervisor


def test_a_gateway_with_an_invalid_config_stays_down_until_it_is_fixed(login: Login) -> None:
    login.hasten()
    login.install()
    good = (login.state / "config.json").read_text()
    login.write(login.state / "config.json", "{")

    assert login.systemctl("restart", "moongate.service").code != 0

    login.wait_state("failed")
    assert (login.show("ExecMainStatus"), login.show("NRestarts")) == ("78", "0")
    refused = login.gateway("start", "--json")
    assert (refused.code, "config.json" in refused.err) == (78, True)

    login.write(login.state / "config.json", good)
    assert login.gateway("start").code == 0
    assert login.show("ActiveState") == "active"


def test_five_restarts_under_load_refuse_no_client_and_systemd_counts_no_restart(login: Login) -> None:
    supervisor = str(login.install("--runtime", "binary")["pid"])

    with Traffic(login.record["port"], keeping=4, coming=4) as traffic:
        for options in ([], ["--hard"], [], []):
            assert login.gateway("restart", *options).code == 0
        assert login.systemctl("reload", "moongate.service").code == 0

    assert traffic.failures == []
    assert (login.show("MainPID"), login.show("NRestarts"), login.show("ActiveState")) == (supervisor, "0", "active")
    assert login.health["generation"] == 6


def test_a_stop_with_a_stubborn_run_is_in_time_and_the_run_is_not_lost(login: Login) -> None:
    login.configure(STUBBORN)
    login.install()
    run = login.call("POST", "/api/tasks", {"input": "go", "agentId": "stubborn"}).body["task"]["id"]
    until_sync(lambda: (login.home / "tried").exists(), "the run is under way", PATIENCE)

    assert login.systemctl("stop", "moongate.service").code == 0

    assert (login.show("ActiveState"), login.show("Result")) == ("inactive", "success")
    assert login.gateway("service-start").code == 0

    def task() -> dict[str, object]:
        return dict(login.call("GET", f"/api/tasks/{run}").body["task"])

    until_sync(lambda: task()["status"] == "succeeded", "the run is done", PATIENCE)
    assert (task()["attempt"], task()["result"]) == (2, "done")


def test_stop_and_start_use_systemd_and_doctor_sees_the_service(login: Login) -> None:
    login.hasten()
    login.install()

    assert login.gateway("stop").code == 0
    assert login.show("ActiveState") == "inactive"
    (stopped,) = service_findings(login)
    assert (stopped["level"], stopped["remedy"]) == ("warning", "gateway service-start")
    assert login.gateway("stop").code == 3

    assert login.gateway("start", "--port", "1").code == 1
    assert str(login.gateway("start", "--json").json["pid"]) == login.show("MainPID")
    assert [found["level"] for found in service_findings(login)] == ["ok"]
    assert login.gateway("status", "--json").json["service"] == "systemd"

    assert login.gateway("restart", "--force").code == 0
    assert login.show("ActiveState") == "active"

    refused = login.gateway("run", "--force", "--host", "203.0.113.1")  # it fails only at its own address
    assert (refused.code, login.show("ActiveState")) == (78, "inactive")


def test_a_unit_deleted_by_hand_is_removed_with_its_link_and_its_process(login: Login) -> None:
    login.install()
    login.unit.unlink()
    assert [found["level"] for found in service_findings(login)] == ["error"]

    assert login.gateway("uninstall", "--json").json["uninstalled"] is True

    assert not list(login.unit.parent.rglob("*.service"))
    assert (login.show("LoadState"), login.show("ActiveState")) == ("not-found", "inactive")
    assert login.health == {}


def test_a_running_gateway_is_replaced_by_the_service(login: Login) -> None:
    before = login.gateway("start", "--json").json["pid"]

    installed = login.install()

    assert str(installed["pid"]) == login.show("MainPID") != str(before)
    assert login.run("kill", "-0", str(before)).code != 0


def test_a_token_can_be_changed_without_a_new_installation(login: Login) -> None:
    login.install()
    old = (login.state / "token").read_text()
    unit = login.unit.read_text()
    login.write(login.state / "token", SECRET)

    assert login.gateway("restart").code == 0

    assert login.call("GET", "/api/channels").status == 200
    assert login.call("GET", "/api/channels", token=old.strip()).status == 401
    assert login.unit.read_text() == unit


def test_an_outdated_unit_is_detected_and_rewritten(login: Login) -> None:
    login.install()
    now = login.unit.read_text()
    login.write(
        login.unit,
        now.replace(f"Moongate {gateway.__version__}", "Moongate 0.0.9").replace("LimitNOFILE=8192", "LimitNOFILE=9"),
    )
    assert "written by Moongate 0.0.9" in service_findings(login)[0]["finding"]

    fixed = login.gateway("doctor", "--fix", "--json").json["fixed"]

    assert [said.partition(":")[0] for said in fixed] == ["service"]
    assert login.unit.read_text() == now
    assert login.show("LimitNOFILE") == "8192"
    assert login.show("NRestarts") == "0"


def test_a_start_that_fails_leaves_no_service(login: Login) -> None:
    login.write(login.state / "data" / "moongate.db", "no database")

    failed = login.gateway("install", "--json")

    assert failed.code == 1
    assert "cannot start the service" in failed.json["error"]["message"]
    assert "moongate.db is damaged, or is not an SQLite database" in failed.json["error"]["message"]
    assert "Everything is as it was before." in failed.json["error"]["message"]
    assert not login.unit.exists()
    assert (login.show("LoadState"), login.gateway("service-status").code) == ("not-found", 3)


def service_findings(login: Login) -> list[dict[str, str]]:
    found = login.gateway("doctor", "--json").json["findings"]
    return [one for one in found if one["check"] == "service"]
