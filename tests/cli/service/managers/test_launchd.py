"""Installation with a scripted `launchctl`. If a step fails, everything is as it was before."""

from __future__ import annotations

import os
import plistlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.doctor import service_drift
from cli.doctor.finding import Level
from cli.instance import Instance
from cli.remote import probe
from cli.remote.probe import State
from cli.service import lookup, steps, unit
from cli.service.manager import ServiceStatus
from cli.service.managers import launchd
from gateway.errors import ConfigError, Conflict, GatewayError, Unavailable
from tests.cli.service.managers.machine import Machine

pytestmark = [pytest.mark.service, pytest.mark.skipif(os.name != "posix", reason="launchd")]

USER = os.getuid() if os.name == "posix" else 0
LABEL = "ai.moongate.gateway"
TARGET = f"gui/{USER}/{LABEL}"
STATE = {
    "domains": [f"gui/{USER}", f"user/{USER}", "system"],
    "loaded": {},
    "disabled": [],
    "io_errors": 0,
    "lies": False,
    "lazy": False,
    "dead": False,
    "next": 90_000,
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(unit, "_temporary_directories", lambda env: set())  # the tests may run from anywhere
    monkeypatch.setattr(lookup, "MANAGER_CLASSES", {"linux": "launchd.Launchd"})
    monkeypatch.setattr(launchd, "LAUNCH_DAEMONS_DIRECTORY", tmp_path / "LaunchDaemons")
    monkeypatch.setattr(launchd, "LOAD_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(launchd, "LAUNCHD_START_TIMEOUT_SECONDS", 0.0)
    made = Machine(tmp_path, "launchctl", STATE, "-S")
    made.script("plutil", "")
    yield made
    if made.state["real"]:
        steps.carry_out(made.manager.plan_removal())


def unit_file(machine: Machine) -> Path:
    return machine.home / "Library" / "LaunchAgents" / f"{LABEL}.plist"


def only_load(machine: Machine, *arguments: str) -> None:
    """Carry out the steps of the manager. Waiting for the gateway's answer is not one of them."""
    plan = machine.plan(*arguments)
    steps.carry_out(plan.manager.plan_installation(plan.spec))


def known(machine: Machine) -> dict[str, Any]:
    """The state of launchd without its processes."""
    state = machine.state
    return {
        "disabled": state["disabled"],
        "loaded": {target: found["plist"] for target, found in state["loaded"].items()},
    }


FAILURES = {
    "plutil": "verify the property list",
    "bootstrap": "start the service",
    "enable": "enable the service",
    "": "wait until the gateway answers",
}


def fail_at(machine: Machine, verb: str) -> None:
    if verb == "plutil":
        machine.script("plutil", "echo not today >&2; exit 1")
    machine.set(fails_at=verb)


@pytest.mark.parametrize("verb", FAILURES)
def test_a_first_installation_that_fails_leaves_nothing(verb: str, machine: Machine) -> None:
    machine.set(disabled=[LABEL])
    before = machine.files, known(machine)
    fail_at(machine, verb)

    with pytest.raises(GatewayError) as raised:
        machine.install("--port", "0", token="a-new-token", wait=0)

    assert raised.value.message.startswith(f"cannot {FAILURES[verb]}: ")
    assert "Everything is as it was before." in str(raised.value)
    assert str(raised.value.remedy).splitlines()[1:]
    assert (machine.files, known(machine)) == before


@pytest.mark.parametrize("verb", ["plutil", "bootout", "bootstrap", ""])
def test_an_installation_over_another_that_fails_brings_that_back(verb: str, machine: Machine) -> None:
    only_load(machine)
    before = machine.files, known(machine)
    fail_at(machine, verb)

    with pytest.raises(GatewayError, match="Everything is as it was before"):
        machine.install("--host", "127.0.0.2", wait=0)

    assert (machine.files, known(machine)) == before


def test_a_directory_that_cannot_be_written_to_is_told(machine: Machine) -> None:
    (machine.home / "Library").write_text("a file")
    before = machine.files

    with pytest.raises(GatewayError, match="cannot write the property list"):
        only_load(machine)

    assert machine.files == before


def test_an_io_error_goes_away_when_it_is_tried_again(machine: Machine) -> None:
    machine.set(io_errors=2)

    only_load(machine)

    assert [words.split()[0] for words in machine.asked] == ["bootstrap"] * 3
    assert TARGET in machine.state["loaded"]


def test_an_io_error_that_stays_is_told(machine: Machine) -> None:
    machine.set(io_errors=100)

    with pytest.raises(GatewayError, match=r"cannot start the service: launchctl bootstrap .*Input/output error"):
        only_load(machine)


def test_what_is_loaded_counts_and_not_what_launchctl_says(machine: Machine) -> None:
    machine.set(lies=True)

    only_load(machine)

    assert machine.manager.ask_status().pid is not None


def test_what_is_loaded_and_does_not_run_is_given_a_kick(machine: Machine) -> None:
    machine.set(lazy=True)

    only_load(machine)

    assert machine.asked[-1] == f"kickstart -k {TARGET}"
    assert machine.manager.ask_status().pid is not None


def test_a_process_that_never_comes_is_a_failure(machine: Machine) -> None:
    machine.set(dead=True)
    before = machine.files

    with pytest.raises(GatewayError, match="starts no process: spawn scheduled"):
        only_load(machine)

    assert machine.files == before
    assert known(machine)["loaded"] == {}


def test_installing_again_starts_a_fresh_process(machine: Machine) -> None:
    only_load(machine)
    first = machine.manager.ask_status().pid

    only_load(machine)

    assert machine.manager.ask_status().pid not in (None, first)


def test_one_that_was_disabled_is_enabled(machine: Machine) -> None:
    machine.set(disabled=[LABEL])

    only_load(machine)

    assert machine.state["disabled"] == []
    assert machine.manager.ask_status().enabled


def test_without_a_screen_it_runs_in_the_users_own_session(machine: Machine) -> None:
    machine.set(domains=[f"user/{USER}"])

    only_load(machine)

    assert list(machine.state["loaded"]) == [f"user/{USER}/{LABEL}"]
    assert any("background session" in hint for hint in machine.manager.list_hints())


def test_without_a_session_it_says_what_to_do_instead(machine: Machine) -> None:
    machine.set(domains=[])
    with pytest.raises(Unavailable) as raised:
        machine.plan()
    assert all(words in str(raised.value) for words in ("Log in as", "gateway start"))

    machine.env["PATH"] = str(machine.home)
    with pytest.raises(Unavailable, match="no launchd"):
        machine.plan()


def test_a_removal_leaves_nothing(machine: Machine) -> None:
    before = machine.files
    only_load(machine)
    (machine.config.parent / "logs" / "service.log").write_text("a banner")

    steps.carry_out(machine.manager.plan_removal())

    (machine.config.parent / "logs").rmdir()
    assert machine.files == before
    assert known(machine) == {"disabled": [], "loaded": {}}


def test_a_removal_that_fails_leaves_the_service(machine: Machine) -> None:
    only_load(machine)
    before = machine.files, known(machine)
    machine.set(fails_at="bootout")
    with pytest.raises(
        GatewayError, match=r"cannot stop the service: .*not today[\s\S]*Everything is as it was before"
    ):
        steps.carry_out(machine.manager.plan_removal())
    assert (machine.files, known(machine)) == before

    (machine.config.parent / "logs" / "service.log").mkdir()  # a directory cannot be removed like a file
    with pytest.raises(GatewayError, match="cannot remove its output file"):
        steps.carry_out(machine.manager.plan_removal())
    (machine.config.parent / "logs" / "service.log").rmdir()
    assert (machine.files, known(machine)) == before


def test_a_stopped_service_stays_away_and_is_there_at_the_next_login(machine: Machine) -> None:
    only_load(machine)
    found = machine.manager

    found.stop_service()
    assert found.ask_status() == ServiceStatus("not loaded", running=False, pid=None, enabled=True)
    assert unit_file(machine).exists()

    found.start_service()
    assert found.ask_status().running


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(machine: Machine) -> None:
    before = machine.files

    shown = machine.plan("--port", "8080", earnest=False).describe_dry_run()

    assert machine.files == before
    assert machine.asked == []
    assert "<string>8080</string>" in shown["unit"]
    assert f"launchctl bootstrap gui/{USER} {unit_file(machine)}" in shown["steps"]


def test_a_second_property_list_for_the_same_config_is_refused(machine: Machine) -> None:
    only_load(machine)
    unit_file(machine).rename(unit_file(machine).with_name("mine.plist"))

    with pytest.raises(Conflict, match=r"mine\.plist already runs a gateway with this config"):
        machine.plan()


def test_a_property_list_of_somebody_else_is_told_of(machine: Machine) -> None:
    unit_file(machine).parent.mkdir(parents=True)
    unit_file(machine).write_bytes(plistlib.dumps({"Label": LABEL}))

    with pytest.raises(ConfigError, match="Moongate did not write it"):
        machine.manager.read_installed_spec()


def test_one_of_the_whole_system_is_a_daemon_of_its_user(machine: Machine) -> None:
    found = lookup.find_manager(Instance.from_environment(machine.env), system=True)
    spec = unit.build_spec(
        Instance.from_environment(machine.env), arguments=(), runtime="python", path="/bin", system=True
    )

    steps.carry_out(found.plan_installation(spec))

    assert found.unit_path == launchd.LAUNCH_DAEMONS_DIRECTORY / f"{LABEL}.plist"
    assert plistlib.loads(found.unit_path.read_bytes())["UserName"] == spec.user
    assert list(machine.state["loaded"]) == [f"system/{LABEL}"]


def test_a_gateway_is_installed_replaced_and_removed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchd, "LAUNCHD_START_TIMEOUT_SECONDS", 60.0)
    machine.set(real=True)
    instance = Instance.from_environment(machine.env)
    output = machine.config.parent / "logs" / "service.log"
    output.parent.mkdir()
    output.write_bytes(b"of before\n" * 200_000)

    first = machine.install(token="a-token-of-mine")
    assert machine.manager.ask_status().pid == first["pid"]
    assert "a-token-of-mine" not in unit_file(machine).read_text()
    assert "of before" not in output.read_text(), "it does not grow for ever"
    second = machine.install("--port", "0")
    assert second["replaced"]
    assert second["pid"] != first["pid"]
    assert probe.probe_gateway(instance).state is State.RUNNING
    assert {one.level for one in service_drift.examine_service(instance, probe.probe_gateway(instance))} == {Level.OK}
    assert service_drift.rewrite_unit(instance) is None, "what is installed is as it is to be"
    steps.carry_out(machine.manager.plan_removal())

    assert probe.probe_gateway(instance).state is State.STOPPED
    assert not unit_file(machine).exists()
    assert not output.exists()
