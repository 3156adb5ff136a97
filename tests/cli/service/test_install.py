"""Installation with a scripted `systemctl`. If a step fails, everything is as it was before."""

from __future__ import annotations

import getpass
import json
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import gateway
from cli import output
from cli.commands.install import TOKEN_VARIABLE
from cli.doctor import repair, service_drift
from cli.doctor.finding import Level
from cli.instance import Instance
from cli.main import main
from cli.remote import probe
from cli.service import install, lookup, unit
from cli.service.install import InstallationPlan
from cli.service.managers import systemd
from cli.service.steps import carry_out
from gateway.errors import ConfigError, Conflict, Forbidden, GatewayError, PortTaken, Unavailable
from harness.live_gateway import Live

pytestmark = pytest.mark.skipif(os.name != "posix", reason="systemd")

#: records its arguments, fails once at the verb in the file `fail`, and manages the link of an enabled unit
_SYSTEMCTL = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/asked"
[ "$1" = --user ] && shift
if [ "$1" = "$(cat "$here/fail" 2>/dev/null)" ]; then rm "$here/fail"; echo "not today" >&2; exit 1; fi
link=$HOME/.config/systemd/user/default.target.wants/$2
case $1 in
  show) cat "$here/shown"; [ -L "$link" ] || [ -L "${link%/*}/moongate.service" ] && echo UnitFileState=enabled;;
  enable) mkdir -p "${link%/*}"; ln -sf "../$2" "$link";;
  disable) rm -f "$link"; rmdir "${link%/*}";;
esac
exit 0
"""
_DEAD = "ActiveState=inactive\nSubState=dead\nMainPID=0\n"


class Machine:
    """A home directory, and a fake `systemctl` that the test controls."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.home.mkdir()
        self.programs = root / "programs"
        self.programs.mkdir()
        self.script("systemctl", _SYSTEMCTL)
        self.script("systemd-analyze", "#!/bin/sh\n")
        self.shows(_DEAD)
        (root / "run" / "systemd").mkdir(parents=True)
        (root / "run" / "systemd" / "private").touch()
        self.config = self.home / ".moongate" / "config.json"
        self.config.parent.mkdir(mode=0o700)
        self.config.write_text(
            json.dumps({"gateway": {"port": 0}, "agents": {"list": [{"id": "main", "backend": "echo"}]}})
        )
        self.env = {
            "HOME": str(self.home),
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "XDG_RUNTIME_DIR": str(root / "run"),
            "SHELL": "/bin/sh",
        }
        self.unit = self.home / ".config/systemd/user/moongate.service"

    def script(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def shows(self, text: str) -> None:
        (self.programs / "shown").write_text(text)

    def fails_at(self, verb: str) -> None:
        (self.programs / "fail").write_text(verb)

    @property
    def asked(self) -> list[str]:
        file = self.programs / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.removeprefix("--user ") for line in lines if " show " not in line]

    @property
    def files(self) -> dict[str, object]:
        """All files in the home directory: content, links and modes."""
        return {
            str(path.relative_to(self.home)): (
                stat.S_IMODE(path.lstat().st_mode),
                os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
            )
            for path in self.home.rglob("*")
            if not (path.is_dir() and path.is_relative_to(self.home / ".config"))
        }

    def plan(self, *arguments: str, token: str | None = None, earnest: bool = True) -> InstallationPlan:
        return install.plan_installation(
            self.env, arguments=arguments, token=token, runtime="python", system=False, earnest=earnest
        )

    def install(self, *arguments: str, token: str | None = None) -> None:
        """Carry out the steps of the manager. Waiting for the gateway's answer is not one of them."""
        plan = self.plan(*arguments, token=token)
        carry_out(plan.manager.plan_installation(plan.spec))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(unit, "_temporary_directories", lambda env: set())  # the tests may run from anywhere
    return Machine(tmp_path)


def test_a_token_is_handed_on_out_of_the_process_list_and_out_of_sight_of_children(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.script("systemctl", '#!/bin/sh\nenv >>"$(dirname "$0")/seen"\nexit 1\n')
    words = ["install", "--token", "my-secret", "--port", "0", "--token=my-secret"]
    begun: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-m", "cli.main", *words])

    def become(program: str, argv: list[str], env: dict[str, str]) -> None:
        begun.append((argv, env))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", become)
    with pytest.raises(SystemExit):
        main(words)
    ((argv, env),) = begun
    assert argv[3:] == ["install", "--port", "0"]

    for name, value in {**machine.env, TOKEN_VARIABLE: env[TOKEN_VARIABLE]}.items():
        monkeypatch.setenv(name, value)
    assert main(argv[3:]) == 1
    assert "my-secret" not in (machine.programs / "seen").read_text()


def test_the_systems_own_service_names_its_user_and_needs_no_bus(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "SYSTEM_UNIT_DIRECTORY", tmp_path / "system")
    monkeypatch.setattr(lookup, "system_environment", dict)  # the user's home directory is not this one

    plan = install.plan_installation(
        machine.env, arguments=(), token=None, runtime="python", system=True, earnest=False
    )
    carry_out(plan.manager.plan_installation(plan.spec))

    text = plan.manager.unit_path.read_text()
    assert plan.manager.unit_path == tmp_path / "system" / "moongate.service"
    assert f"User={getpass.getuser()}\n" in text
    assert "WantedBy=multi-user.target\n" in text
    assert "enable moongate.service" in machine.asked


def test_the_systems_own_service_is_roots_to_install(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(Forbidden, match="only root can change") as raised:
        install.plan_installation(machine.env, arguments=(), token=None, runtime="python", system=True, earnest=True)

    assert "sudo" in (raised.value.remedy or "")


FAILURES = {
    "daemon-reload": "reload systemd's units",
    "enable": "enable the service",
    "restart": "start the service",
    "": "wait until the gateway answers",
}


@pytest.mark.parametrize("verb", FAILURES)
def test_a_first_installation_that_fails_leaves_nothing(verb: str, machine: Machine) -> None:
    before = machine.files
    machine.fails_at(verb)

    with pytest.raises(GatewayError) as raised:
        machine.plan("--port", "0", token="a-new-token").carry_out(lambda _: None, wait=0)

    assert raised.value.message.startswith(f"cannot {FAILURES[verb]}: ")
    assert "Everything is as it was before." in str(raised.value)
    assert str(raised.value.remedy).splitlines()[1:]
    assert machine.files == before


@pytest.mark.parametrize("verb", FAILURES)
def test_an_installation_over_another_that_fails_brings_that_back(verb: str, machine: Machine) -> None:
    machine.install()
    machine.shows("ActiveState=active\nSubState=running\nMainPID=1\n")
    before = machine.files
    machine.fails_at(verb)

    with pytest.raises(GatewayError):
        machine.plan("--port", "8080").carry_out(lambda _: None, wait=0)

    assert machine.files == before
    assert machine.asked[-2:] == ["daemon-reload", "restart moongate.service"]


def log_line(machine: Machine, error: str, seconds: float) -> None:
    """Write to the gateway's log, with a time relative to now, why a start failed."""
    file = machine.config.parent / "logs" / "gateway.log"
    file.parent.mkdir(exist_ok=True)
    moment = output.format_rfc3339(int((time.time() + seconds) * 1000))
    with file.open("a") as log:
        log.write(json.dumps({"time": moment, "level": "info", "event": "generation.failed", "error": error}) + "\n")


def test_a_start_that_fails_is_told_in_the_gateways_own_words(machine: Machine) -> None:
    log_line(machine, "the reason of another day", -60)
    log_line(machine, "moongate.db is damaged", 60)
    machine.fails_at("restart")

    with pytest.raises(GatewayError) as raised:
        machine.plan().carry_out(lambda _: None, wait=0)

    assert raised.value.message == "cannot start the service: moongate.db is damaged"
    assert "gateway logs, or journalctl --user -u moongate.service" in str(raised.value.remedy)


def test_one_that_ended_before_its_log_is_told_by_what_it_printed(machine: Machine) -> None:
    log_line(machine, "the reason of another day", -60)
    machine.script("journalctl", '#!/bin/sh\nfor last; do :; done\necho "no module for $last"\n')
    machine.fails_at("restart")

    with pytest.raises(GatewayError) as raised:
        machine.plan().carry_out(lambda _: None, wait=0)

    assert raised.value.message == "cannot start the service: no module for _SYSTEMD_USER_UNIT=moongate.service"


def test_one_that_said_nothing_is_told_in_the_managers_words(machine: Machine) -> None:
    log_line(machine, "the reason of another day", -60)
    machine.script("journalctl", "#!/bin/sh\necho nothing >&2\nexit 1\n")
    machine.fails_at("restart")

    with pytest.raises(GatewayError, match=r"cannot start the service: systemctl .*: not today"):
        machine.plan().carry_out(lambda _: None, wait=0)


def test_ctrl_c_leaves_everything_as_it_was_and_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = machine.files
    for name, value in machine.env.items():
        monkeypatch.setenv(name, value)

    def interrupt(self: systemd.Systemd) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(systemd.Systemd, "_reload_units", interrupt)

    assert main(["install"]) == 130

    assert machine.files == before
    assert capsys.readouterr() == ("", "Interrupted. Everything is as it was before.\n")


def test_what_cannot_be_mended_is_told_with_its_reason(machine: Machine) -> None:
    machine.install()
    machine.unit.write_text(machine.unit.read_text().replace("RestartSec=5", "RestartSec=50"))
    machine.fails_at("daemon-reload")

    mended = repair.repair_all(machine.env)

    assert mended.done == []
    (failed,) = mended.failed
    assert failed.startswith("service: cannot reload systemd's units: ")
    assert "not today" in failed
    assert "Everything is as it was before." in failed

    mended = repair.repair_all(machine.env)
    assert (len(mended.done), mended.failed) == (1, [])
    assert "RestartSec=5\n" in machine.unit.read_text()


def test_a_gateway_that_was_stopped_for_it_runs_again(machine: Machine, live: Callable[..., Live]) -> None:
    one = live()
    one.home.chmod(0o700)
    one.start()
    machine.env["MOONGATE_HOME"] = str(one.home)
    before = one.record
    machine.fails_at("enable")

    with pytest.raises(GatewayError, match="cannot enable the service"):
        machine.plan().carry_out(lambda _: None, wait=0)

    assert before is not None
    assert not before.is_alive
    assert one.record is not None
    assert (one.record.port, one.health["status"]) == (before.port, "healthy")


def test_a_unit_that_systemd_finds_fault_with_is_not_written(machine: Machine) -> None:
    machine.script("systemd-analyze", '#!/bin/sh\nfor file; do :; done\necho "$file:5: Unknown key" >&2\n')
    before = machine.files

    with pytest.raises(GatewayError, match=r"cannot verify the unit: .*moongate\.service:5: Unknown key"):
        machine.install()

    assert machine.files == before


def test_a_directory_that_cannot_be_written_to_is_told(machine: Machine) -> None:
    (machine.home / ".config").write_text("a file")
    before = machine.files

    with pytest.raises(GatewayError, match="cannot write the unit") as raised:
        machine.install()

    assert all(words in str(raised.value.remedy) for words in ("Check its permissions", "the disk is full"))
    assert machine.files == before


@pytest.mark.parametrize("verb", ["stop", "disable", "daemon-reload"])
def test_a_removal_that_fails_leaves_the_service(verb: str, machine: Machine) -> None:
    machine.install()
    before = machine.files
    manager = lookup.find_manager(Instance.from_environment(machine.env))
    machine.fails_at(verb)

    with pytest.raises(GatewayError, match="Everything is as it was before") as raised:
        carry_out(manager.plan_removal())

    assert "not today" in raised.value.message
    assert machine.files == before


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(machine: Machine) -> None:
    (machine.root / "run/systemd/private").unlink()  # a dry run does not need a manager either
    before = machine.files

    shown = machine.plan("--port", "8080", earnest=False).describe_dry_run()

    assert machine.files == before
    assert machine.asked == []
    assert '"--port" "8080"' in shown["unit"]
    assert "systemctl --user enable moongate.service" in shown["steps"]
    assert shown["hints"] == []


def test_a_dry_run_says_what_the_service_would_not_see(machine: Machine) -> None:
    machine.env["MOONGATE_PORT"] = "18998"

    (hint,) = machine.plan(earnest=False).describe_dry_run()["hints"]

    assert "does not see MOONGATE_PORT of this shell" in hint


def test_without_a_manager_it_says_what_to_do_instead(machine: Machine) -> None:
    (machine.root / "run/systemd/private").unlink()
    with pytest.raises(Unavailable) as raised:
        machine.plan()
    assert raised.value.exit_code == 1  # another try would not help
    assert "systemd/private" in raised.value.message
    assert all(words in str(raised.value) for words in ("enable-linger", "--system", "gateway start", "@reboot"))

    machine.env["PATH"] = str(machine.root)
    with pytest.raises(Unavailable, match="no systemd"):
        machine.plan()


def test_settings_that_cannot_be_used_are_told_before_anything_is_done(machine: Machine) -> None:
    machine.config.write_text('{"gatewy": {}}')

    with pytest.raises(ConfigError, match="gatewy"):
        machine.plan()

    assert machine.asked == []


def test_a_port_that_another_program_has_is_told_before_anything_is_done(
    machine: Machine, live: Callable[..., Live]
) -> None:
    other = live("other").start()

    with pytest.raises(PortTaken, match="gateway install --port OTHER"):
        machine.plan("--port", str(other.port))


def test_a_token_that_the_config_file_would_win_over_is_refused(machine: Machine) -> None:
    settings = {"gateway": {"port": 0, "auth": {"token": "the-one-in-the-file"}}}
    machine.config.write_text(json.dumps(settings))

    with pytest.raises(ConfigError, match="would be used"):
        machine.plan(token="another-one")


def test_variables_of_this_shell_that_a_service_does_not_see_are_named() -> None:
    assert unit.list_unseen_variables(
        {"MOONGATE_PORT": "1", "XCCLAW_APP_HOST": "::1", "PATH": "/bin", "MOONGATE_TOKEN": ""}
    ) == [
        "MOONGATE_PORT",
        "XCCLAW_APP_HOST",
    ]


def test_a_second_unit_for_the_same_config_is_refused(machine: Machine) -> None:
    machine.install()
    machine.unit.rename(machine.unit.with_name("mine.service"))

    with pytest.raises(Conflict, match=r"mine\.service already runs a gateway with this config"):
        machine.plan()


def test_a_unit_that_somebody_else_wrote_is_told_of(machine: Machine) -> None:
    machine.unit.parent.mkdir(parents=True)
    machine.unit.write_text("[Service]\nExecStart=/bin/true\n")

    with pytest.raises(ConfigError, match="Moongate did not write it"):
        lookup.find_manager(Instance.from_environment(machine.env)).read_installed_spec()


def test_a_unit_is_the_same_by_whatever_name_its_python_was_started(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Path(sys.executable).with_name("python")
    assert usual.exists(), "the tests run in a virtual environment"

    monkeypatch.setattr(sys, "executable", str(usual.with_name("python3")))

    assert machine.plan().spec.program == str(usual)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("# Written by gateway install. Moongate ", f"names version {gateway.__version__} now; nothing else"),
        ("RestartSec=", "is rewritten; it takes effect at the next start"),
    ],
)
def test_a_rewritten_unit_takes_effect_later_only_if_more_than_its_version_has_changed(
    line: str, said: str, machine: Machine
) -> None:
    carry_out((plan := machine.plan(earnest=False)).manager.plan_installation(plan.spec))
    machine.shows("ActiveState=active\nSubState=running\nMainPID=1\n")
    wanted = machine.unit.read_text()
    machine.unit.write_text(wanted.replace(line, f"{line}1"))

    assert said in (service_drift.rewrite_unit(Instance.from_environment(machine.env)) or "")
    assert machine.unit.read_text() == wanted


def test_a_unit_that_was_only_disabled_is_enabled_again_and_that_is_said(machine: Machine) -> None:
    carry_out((plan := machine.plan(earnest=False)).manager.plan_installation(plan.spec))
    machine.shows("ActiveState=active\nSubState=running\nMainPID=1\n")
    instance = Instance.from_environment(machine.env)
    assert service_drift.rewrite_unit(instance) is None

    for link in machine.unit.parent.glob("*.wants/moongate.service"):
        link.unlink()

    assert "is enabled again" in (service_drift.rewrite_unit(instance) or "")
    assert service_drift.rewrite_unit(instance) is None


@pytest.mark.parametrize(
    ("before", "after", "level", "said"),
    [
        (sys.executable, "/no/such/python", Level.ERROR, "its program /no/such/python is gone"),
        (
            "# Written by gateway install. Moongate ",
            "# Moongate 0.",
            Level.WARNING,
            "the unit was written by Moongate 0.",
        ),
        ("RestartSec=5", "RestartSec=50", Level.WARNING, "the unit differs from what would be written now"),
        ("ExecStart=", "Exec=", Level.ERROR, "Moongate did not write it."),
    ],
)
def test_what_has_drifted_is_found(before: str, after: str, level: Level, said: str, machine: Machine) -> None:
    settings = json.loads(machine.config.read_text())
    machine.config.write_text(json.dumps({**settings, "gateway": {"port": 8080}}))
    carry_out((plan := machine.plan("--port", "8080", earnest=False)).manager.plan_installation(plan.spec))
    machine.shows("ActiveState=active\nSubState=running\nMainPID=1\n")
    instance = Instance.from_environment(machine.env)
    assert {one.level for one in service_drift.examine_service(instance, probe.probe_gateway(instance))} == {Level.OK}

    machine.unit.write_text(machine.unit.read_text().replace(before, after))

    found = service_drift.examine_service(instance, probe.probe_gateway(instance))
    assert (found[0].level, said in found[0].finding) == (level, True)
    assert "gateway install" in (found[0].remedy or "")


def test_a_port_that_was_given_to_install_is_no_fault(machine: Machine) -> None:
    settings = json.loads(machine.config.read_text())
    machine.config.write_text(json.dumps({**settings, "gateway": {"port": 8080}}))
    carry_out((plan := machine.plan("--port", "9090", earnest=False)).manager.plan_installation(plan.spec))
    machine.shows("ActiveState=active\nSubState=running\nMainPID=1\n")
    instance = Instance.from_environment(machine.env)

    found = service_drift.examine_service(instance, probe.probe_gateway(instance))

    assert {one.level for one in found} == {Level.OK}
    assert found[0].finding.endswith("systemd; it sets --port 9090")


def test_a_new_installation_keeps_the_options_of_the_one_before(machine: Machine) -> None:
    machine.install("--port", "8080", "--host", "127.0.0.2")

    machine.install("--port", "0")

    assert '"--port" "0" "--host" "127.0.0.2"' in machine.unit.read_text()
    machine.install()
    assert '"--port" "0" "--host" "127.0.0.2"' in machine.unit.read_text()


def test_a_worker_is_installed_with_its_role_and_stays_one(machine: Machine) -> None:
    settings = json.loads(machine.config.read_text())
    machine.config.write_text(json.dumps({**settings, "store": {"url": "postgresql://moongate@127.0.0.1/moongate"}}))
    machine.install("--role", "worker")
    assert '"--role" "worker"' in machine.unit.read_text()

    machine.install("--port", "0")
    assert '"--role" "worker" "--port" "0"' in machine.unit.read_text()
    machine.install("--role", "gateway")
    assert '"--role" "gateway" "--port" "0"' in machine.unit.read_text()


def test_a_worker_without_a_fleet_is_not_installed(machine: Machine) -> None:
    before = machine.files

    with pytest.raises(ConfigError, match=r"a worker needs store\.url"):
        machine.install("--role", "worker")

    assert machine.files == before


def test_a_new_installation_keeps_the_runtime_of_the_one_before(machine: Machine) -> None:
    machine.script("gateway", "#!/bin/sh\n")
    for runtime in ("binary", None):
        plan = install.plan_installation(
            machine.env, arguments=(), token=None, runtime=runtime, system=False, earnest=False
        )
        carry_out(plan.manager.plan_installation(plan.spec))
        assert f'{machine.programs}/gateway" "run"' in machine.unit.read_text()


@pytest.mark.parametrize(
    ("platform", "said"),
    [("linux", "[Service]"), ("darwin", "<key>ProgramArguments</key>"), ("win32", "<LogonTrigger>")],
)
def test_the_unit_of_each_platform_is_shown_on_any_platform(platform: str, said: str, machine: Machine) -> None:
    text = install.render_unit(machine.env, platform, arguments=("--port", "8080"), runtime=None, system=False)

    assert (said in text, "8080" in text) == (True, True)
    assert machine.asked == []


def test_a_dry_run_shows_the_unit_of_a_program_that_will_not_last_and_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/home/anna/.pyenv/shims/python")

    shown = machine.plan(earnest=False).describe_dry_run()

    assert "/home/anna/.pyenv/shims/python" in shown["unit"]
    assert "/home/anna/.pyenv/shims/python is a shim" in "".join(shown["hints"])
    with pytest.raises(ConfigError, match="is a shim"):
        machine.plan()


def test_node_is_another_word_for_the_interpreter(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in machine.env.items():
        monkeypatch.setenv(name, value)

    assert main(["install", "--runtime", "node", "--print", "systemd"]) == 0


def test_a_second_unit_for_the_same_config_is_found(machine: Machine) -> None:
    machine.install()
    machine.unit.with_name("mine.service").write_text(machine.unit.read_text())
    instance = Instance.from_environment(machine.env)

    findings = service_drift.examine_service(instance, probe.probe_gateway(instance))

    assert findings[-1].level is Level.ERROR
    assert "mine.service also runs a gateway with this config" in findings[-1].finding


def test_a_unit_that_was_deleted_by_hand_is_told_of_and_its_link_is_removed(machine: Machine) -> None:
    machine.install()
    link = machine.unit.parent / "default.target.wants" / machine.unit.name
    assert link.is_symlink()
    machine.unit.unlink()
    instance = Instance.from_environment(machine.env)

    (found,) = service_drift.examine_service(instance, probe.probe_gateway(instance))

    assert (found.level, found.remedy) == (Level.ERROR, "gateway install, or gateway uninstall")
    carry_out(lookup.require_installed(instance).plan_removal())
    assert not link.is_symlink()
    assert lookup.find_installed(instance) is None
    assert "stop moongate.service" not in machine.asked, "systemd knows of none after a new login"


def test_a_user_who_does_not_linger_is_told_when_it_runs(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "LINGER_DIRECTORY", tmp_path)
    machine.install()
    machine.shows("ActiveState=active\nSubState=running\nMainPID=1\n")
    instance = Instance.from_environment(machine.env)
    _, told = service_drift.examine_service(instance, probe.probe_gateway(instance))
    assert (told.check, told.level) == ("login", Level.OK)
    assert f"loginctl enable-linger {getpass.getuser()}" in told.finding

    (tmp_path / getpass.getuser()).touch()

    assert [one.check for one in service_drift.examine_service(instance, probe.probe_gateway(instance))] == ["service"]


def test_another_config_has_a_service_of_its_own_that_knows_its_places(machine: Machine) -> None:
    other = machine.config.with_name("work.json")
    other.write_text(machine.config.read_text())
    machine.env["MOONGATE_CONFIG"] = str(other)

    plan = machine.plan()

    assert plan.manager.service_name == f"moongate-{plan.spec.suffix}.service"
    assert len(plan.spec.suffix) == 8
    assert ("MOONGATE_CONFIG", str(other)) in plan.spec.environment


@pytest.mark.parametrize(
    "program",
    ["/tmp/venv/bin/python", "/home/anna/.cache/uv/archive/bin/python", "/home/anna/.pyenv/shims/python", "python"],
)
def test_a_program_that_does_not_last_is_refused(program: str) -> None:
    with pytest.raises(ConfigError) as raised:
        unit.require_lasting_path(program, {"HOME": "/home/anna"})

    assert "then: gateway install" in str(raised.value)


def test_a_program_in_its_place_is_accepted() -> None:
    unit.require_lasting_path("/home/anna/venv/bin/python", {"HOME": "/home/anna"})


def test_path_is_the_login_shells_and_this_ones_without_what_does_not_last(tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\necho noise\necho PATH=/bin:/usr/bin:/tmp:relative:/no/such/place\n")
    shell.chmod(0o755)

    found = unit.build_search_path({"HOME": str(tmp_path), "SHELL": str(shell), "PATH": "/usr/bin:/sbin:/var/tmp"})

    assert found == "/bin:/usr/bin:/sbin"


def test_a_login_shell_that_fails_is_done_without(tmp_path: Path) -> None:
    assert unit.build_search_path({"HOME": str(tmp_path), "SHELL": "/no/such/shell", "PATH": "/usr/bin"}) == "/usr/bin"
