"""Installation with a scripted `schtasks`. If a step fails, everything is as it was before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.doctor import service_drift
from cli.doctor.finding import Level
from cli.instance import Instance
from cli.remote import local_link, probe
from cli.remote.probe import State
from cli.service import lookup, steps, unit
from cli.service.manager import ServiceStatus
from cli.service.managers import taskscheduler
from gateway.errors import ConfigError, GatewayError, Unavailable
from gateway.supervisor import terminate
from tests.cli.service.managers.machine import Machine
from tests.support.scripted_schtasks import record_of

pytestmark = [pytest.mark.service, pytest.mark.skipif(os.name != "posix", reason="the script is run by a shell")]

TASK = "Moongate"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(unit, "_temporary_directories", lambda env: set())  # the tests may run from anywhere
    monkeypatch.setattr(lookup, "MANAGER_CLASSES", {"linux": "taskscheduler.TaskScheduler"})
    monkeypatch.setattr(local_link, "FIRST_ANSWER_SECONDS", 0.0)  # the fake gateway never answers
    made = Machine(tmp_path, "schtasks", {"tasks": {}, "pid": 0})
    made.env["APPDATA"] = str(made.home / "AppData")
    yield made
    found = Instance.from_environment(made.env).lock_record
    if found is not None and found.is_alive:
        terminate.end_gateway(found, 10.0)


def script(machine: Machine) -> Path:
    return machine.home / "AppData/Microsoft/Windows/Start Menu/Programs/Startup/Moongate.cmd"


def only_start(machine: Machine, *arguments: str) -> None:
    """Carry out the steps of the manager. Waiting for the gateway's answer is not one of them."""
    plan = machine.plan(*arguments)
    steps.carry_out(plan.manager.plan_installation(plan.spec))


def known(machine: Machine) -> dict[str, Any]:
    return dict(machine.state["tasks"])


def refuse_startup(machine: Machine) -> None:
    """Make the Startup folder read-only."""
    script(machine).parent.parent.mkdir(parents=True)
    script(machine).parent.write_text("a file")


FAILURES = {"/create": "register the task", "/run": "start the service", "": "wait until the gateway answers"}


@pytest.mark.parametrize("verb", FAILURES)
def test_a_first_installation_that_fails_leaves_nothing(
    verb: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_startup(machine)
    before = machine.files
    machine.set(fails_at=verb)

    with pytest.raises(GatewayError) as raised:
        machine.install("--port", "0", token="a-new-token", wait=0)

    assert raised.value.message.startswith(f"cannot {FAILURES[verb]}: ")
    assert "Everything is as it was before." in str(raised.value)
    assert str(raised.value.remedy).splitlines()[1:]
    assert known(machine) == {}
    assert not machine.manager.ask_status().running
    assert {name: found for name, found in machine.files.items() if "locks" not in name} == before


@pytest.mark.parametrize("verb", FAILURES)
def test_an_installation_over_another_that_fails_brings_that_back(verb: str, machine: Machine) -> None:
    refuse_startup(machine)
    only_start(machine)
    before = machine.files, known(machine)
    machine.set(fails_at=verb)

    with pytest.raises(GatewayError, match="Everything is as it was before"):
        machine.install("--host", "127.0.0.2", wait=0)

    assert (machine.files, known(machine)) == before
    assert machine.manager.ask_status().running


def test_without_the_right_a_script_in_the_startup_folder_does_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(taskscheduler.TaskScheduler, "_begin_running", lambda self: begun.append([]))
    machine.set(fails_at="/create")
    plan = machine.plan("--host", "127.0.0.2")

    steps.carry_out(plan.manager.plan_installation(plan.spec))

    text = script(machine).read_bytes()
    assert text.startswith(b"@chcp 65001 >nul\r\n")
    assert b'"-m" "gateway" "--host" "127.0.0.2"' in text
    assert "żółć & 'c'" in text.decode()
    assert known(machine) == {}
    assert "Zugriff verweigert" in plan.manager.list_hints()[0]
    assert plan.manager.ask_status().state == "in the Startup folder"
    assert plan.manager.ask_status().enabled


def test_a_script_that_started_it_before_is_brought_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taskscheduler.TaskScheduler, "_begin_running", lambda self: None)
    machine.set(fails_at="/create")
    only_start(machine)
    before = machine.files

    with pytest.raises(GatewayError, match="wait until the gateway answers"):
        machine.install("--host", "127.0.0.2", wait=0)

    assert machine.files == before
    assert known(machine) == {}


def test_the_script_goes_when_the_task_is_taken(machine: Machine) -> None:
    script(machine).parent.mkdir(parents=True)
    script(machine).write_text("of before")

    only_start(machine)

    assert not script(machine).exists()
    assert list(known(machine)) == [TASK]


def test_a_removal_leaves_nothing(machine: Machine) -> None:
    only_start(machine)

    steps.carry_out(machine.manager.plan_removal())

    assert known(machine) == {}
    assert not machine.manager.ask_status().running
    left = {name for name in machine.files if "locks" not in name}
    assert left == {".moongate", ".moongate/config.json"}


def test_a_removal_that_fails_leaves_the_service(machine: Machine) -> None:
    only_start(machine)
    before = machine.files, known(machine)
    machine.set(fails_at="/delete")

    with pytest.raises(GatewayError, match=r"cannot delete the task: .*Zugriff verweigert"):
        steps.carry_out(machine.manager.plan_removal())

    assert (machine.files, known(machine)) == before
    assert machine.manager.ask_status().running


def test_a_task_that_was_disabled_is_told_of(machine: Machine) -> None:
    only_start(machine)
    assert machine.manager.ask_status().enabled
    task = known(machine)[TASK]
    settings = task.index("<Settings>")
    disabled = task[:settings] + task[settings:].replace("<Enabled>true<", "<Enabled>false<")

    machine.set(tasks={TASK: disabled})

    assert not machine.manager.ask_status().enabled


def test_a_gateway_that_somebody_started_otherwise_is_not_the_service(machine: Machine) -> None:
    only_start(machine)
    lock = next((machine.config.parent / "locks").glob("*.lock"))
    written = lock.read_bytes()
    lock.write_bytes(record_of(os.getpid()).encode_line())

    assert machine.manager.ask_status() == ServiceStatus("ready", running=False, pid=None, enabled=True)

    lock.write_bytes(written)  # so that the gateway is ended


def test_a_dry_run_changes_nothing_and_shows_the_task(machine: Machine) -> None:
    before = machine.files

    shown = machine.plan("--port", "8080", earnest=False).describe_dry_run()

    assert machine.files == before
    assert machine.asked == []
    assert "<LogonTrigger>" in shown["unit"]
    assert any(step.startswith("schtasks /create /tn Moongate /xml ") for step in shown["steps"])


def test_for_the_whole_system_it_says_that_this_cannot_be(machine: Machine) -> None:
    with pytest.raises(Unavailable, match="at your login"):
        machine.plan(system=True)


def test_without_task_scheduler_it_says_what_to_do_instead(machine: Machine) -> None:
    machine.env["PATH"] = str(machine.home)
    with pytest.raises(Unavailable, match="gateway start"):
        machine.plan()


def test_a_task_of_somebody_else_is_told_of(machine: Machine) -> None:
    (machine.config.parent / "Moongate.xml").write_text("<Task/>")
    with pytest.raises(ConfigError, match="Moongate did not write it"):
        machine.manager.read_installed_spec()


def test_what_task_scheduler_cannot_carry_is_told_before_anything_is_done(machine: Machine) -> None:
    machine.env["MOONGATE_HOME"] = str(machine.home / "%PATH%")
    with pytest.raises(ConfigError, match="would replace"):
        machine.plan(earnest=False).describe_dry_run()


@pytest.mark.parametrize("right", [True, False])
def test_a_gateway_is_installed_and_removed(right: bool, machine: Machine) -> None:
    machine.set(real=True, fails_at="" if right else "/create")
    instance = Instance.from_environment(machine.env)
    output = machine.config.parent / "logs" / "service.log"
    output.parent.mkdir()
    output.write_bytes(b"of before\n" * 200_000)

    done = machine.install(token="a-token-of-mine")

    assert machine.manager.ask_status().pid == done["pid"]
    assert script(machine).exists() is not right
    unit_file = machine.manager.unit_path
    assert "a-token-of-mine" not in unit_file.read_bytes().decode("utf-16")
    assert "Moongate" in output.read_text()
    assert "of before" not in output.read_text(), "it does not grow for ever"
    assert {one.level for one in service_drift.examine_service(instance, probe.probe_gateway(instance))} == {Level.OK}
    assert service_drift.rewrite_unit(instance) is None, "what is installed is as it is to be"
    steps.carry_out(machine.manager.plan_removal())
    assert probe.probe_gateway(instance).state is State.STOPPED
    assert instance.last_stop is not None, "it was asked to, and ended by itself"
    assert not unit_file.exists()
    assert not script(machine).exists()
    assert not output.exists()
