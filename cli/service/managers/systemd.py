"""Manages a systemd service, of a user or of the whole system, with `systemctl`. Needs no D-Bus."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from cli.service import unit_file
from cli.service.manager import START_WITHOUT_SERVICE, ServiceIdentity, ServiceStatus
from cli.service.manager_command import MANAGER_TIMEOUT_SECONDS, CommandResult, CommandRunner, describe_failure
from cli.service.steps import UNWRITABLE_REMEDY, Step, undo_nothing
from gateway import paths
from gateway.errors import ConfigError, GatewayError, NoServiceManager, Unavailable
from service_templates import ServiceSpec, systemd

#: directory of the units of the whole system
SYSTEM_UNIT_DIRECTORY = Path("/etc/systemd/system")
#: directory of the units that packages bring, for the whole system or for each user
PACKAGED_UNIT_DIRECTORIES = {True: Path("/usr/lib/systemd/system"), False: Path("/usr/lib/systemd/user")}
#: directory with a file for each user whose services keep running after logout
LINGER_DIRECTORY = Path("/var/lib/systemd/linger")
#: seconds that reading the journal may take
JOURNAL_TIMEOUT_SECONDS = 10.0
#: states in which systemd runs the service, or is about to
_ACTIVE_STATES = ("active", "activating", "reloading", "deactivating")


class Systemd:
    """Manages one unit."""

    name = "systemd"

    def __init__(self, site: ServiceIdentity, run: CommandRunner) -> None:
        self._site = site
        self._run = run
        self._env = dict(site.env)
        if not site.system and not os.path.isabs(self._env.get("XDG_RUNTIME_DIR", "")):
            self._env["XDG_RUNTIME_DIR"] = f"/run/user/{os.getuid()}"

    @property
    def service_name(self) -> str:
        return systemd.name(self._site.suffix)

    @property
    def unit_path(self) -> Path:
        return self._unit_directory / self.service_name

    @property
    def packaged_unit(self) -> Path | None:
        file = PACKAGED_UNIT_DIRECTORIES[self._site.system] / self.service_name
        return file if file.is_file() and not os.path.lexists(self.unit_path) else None

    @property
    def is_present(self) -> bool:
        return os.path.lexists(self.unit_path) or self._enabling_link.is_symlink()

    @property
    def _enabling_link(self) -> Path:
        """The link that starts the service automatically."""
        target = "multi-user.target" if self._site.system else "default.target"
        return self._unit_directory / f"{target}.wants" / self.service_name

    @property
    def journal_command(self) -> str:
        return f"journalctl {'' if self._site.system else '--user '}-u {self.service_name} -n 20"

    def read_printed_line(self, since: float) -> str:
        words = ["journalctl", *([] if self._site.system else ["--user"]), "--quiet", "--no-pager", "--output=cat"]
        field = "_SYSTEMD_UNIT" if self._site.system else "_SYSTEMD_USER_UNIT"  # only what the service itself printed
        with contextlib.suppress(Unavailable):
            done = self._run(
                [*words, f"--since=@{since:.3f}", "--lines=1", f"{field}={self.service_name}"],
                self._env,
                JOURNAL_TIMEOUT_SECONDS,
            )
            return done.out.strip() if done.code == 0 else ""
        return ""

    @property
    def _unit_directory(self) -> Path:
        if self._site.system:
            return SYSTEM_UNIT_DIRECTORY
        return paths.base_directory(self._env, "XDG_CONFIG_HOME", ".config") / "systemd" / "user"

    @property
    def _command_words(self) -> list[str]:
        return ["systemctl"] if self._site.system else ["systemctl", "--user"]

    def require_available(self) -> None:
        if shutil.which("systemctl", path=self._env.get("PATH")) is None:
            raise NoServiceManager("this system has no systemd.", remedy=_START_WITHOUT_SYSTEMD)
        if self._site.system:
            if not Path("/run/systemd/system").is_dir():
                raise NoServiceManager("this system was not started by systemd.", remedy=_START_WITHOUT_SYSTEMD)
            return
        # systemctl needs only this socket and no D-Bus; a container can have it, too.
        line = Path(self._env["XDG_RUNTIME_DIR"]) / "systemd" / "private"
        if not line.exists():
            raise NoServiceManager(
                f"there is no systemd for this user: {line} does not exist.",
                remedy="Log in as this user directly, not with su or sudo, or keep its services running:"
                f" sudo loginctl enable-linger {self._site.user}\n"
                f"Or install it for the whole system: sudo gateway install --system. {_START_WITHOUT_SYSTEMD}",
            )

    def render_unit(self, spec: ServiceSpec) -> bytes:
        try:
            return systemd.render(spec).encode()
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def read_installed_spec(self) -> ServiceSpec | None:
        return unit_file.read_spec(self.packaged_unit or self.unit_path, self._parse_unit)

    def _parse_unit(self, data: bytes) -> ServiceSpec:
        text = data.decode()
        return systemd.parse(text, user=self._site.user, output=self._site.output, suffix=self._site.suffix)

    # --- steps ------------------------------------------------------------------------------

    def plan_installation(self, spec: ServiceSpec, *, start: bool = True) -> list[Step]:
        text = self.render_unit(spec)
        before = unit_file.read_content(self.unit_path)
        was = (
            self.ask_status()
            if before is not None
            else ServiceStatus("inactive", running=False, pid=None, enabled=False)
        )

        def restore_unit() -> None:
            unit_file.replace_content(self.unit_path, before)
            self._run_checked("daemon-reload")
            if was.running and start:
                self._run_checked("restart", self.service_name)

        def disable_unit() -> None:
            if not was.enabled:
                self._run_checked("disable", self.service_name)

        steps = [
            Step(
                "verify the unit", "systemd-analyze verify", lambda: self._verify_unit(text), undo_nothing, _REPORT_UNIT
            ),
            Step(
                "write the unit",
                f"write {self.unit_path}",
                lambda: unit_file.replace_content(self.unit_path, text),
                restore_unit,
                UNWRITABLE_REMEDY,
            ),
            Step(
                "reload systemd's units",
                self._format_command("daemon-reload"),
                self._reload_units,
                undo_nothing,
                self._status_hint("status"),
            ),
            Step(
                "enable the service",
                self._format_command("enable", self.service_name),
                lambda: self._run_checked("enable", self.service_name),
                disable_unit,
                self._status_hint("status"),
            ),
        ]
        if start:
            steps.append(
                Step(
                    "start the service",
                    self._format_command("restart", self.service_name),
                    lambda: self._run_checked("restart", self.service_name, timeout_seconds=self._stop_timeout_seconds),
                    lambda: self._run_checked("stop", self.service_name, timeout_seconds=self._stop_timeout_seconds),
                    f"See why: gateway logs, or {self.journal_command}",
                )
            )
        return steps

    def plan_removal(self) -> list[Step]:
        before = unit_file.read_content(self.unit_path)
        was = self.ask_status()

        def restore_unit() -> None:
            unit_file.replace_content(self.unit_path, before)
            self._run_checked("daemon-reload")

        def stop_unit() -> None:
            if before is not None or was.running:  # systemd refuses to stop an unknown service
                self._run_checked("stop", self.service_name, timeout_seconds=self._stop_timeout_seconds)

        return [
            Step(
                "stop the service",
                self._format_command("stop", self.service_name),
                stop_unit,
                lambda: self._run_checked("start", self.service_name) if was.running else None,
                self._status_hint("status"),
            ),
            Step(
                "disable the service",
                self._format_command("disable", self.service_name),
                lambda: self._run_checked("disable", self.service_name),
                lambda: self._run_checked("enable", self.service_name) if was.enabled else None,
                self._status_hint("status"),
            ),
            Step(
                "remove the unit",
                f"rm {self.unit_path}",
                lambda: unit_file.replace_content(self.unit_path, None),
                restore_unit,
                UNWRITABLE_REMEDY,
            ),
            Step(
                "make systemd forget the unit",
                self._format_command("daemon-reload"),
                self._forget_unit,
                undo_nothing,
                self._status_hint("status"),
            ),
        ]

    def _verify_unit(self, text: bytes) -> None:
        """Check the unit with `systemd-analyze`, if it is there."""
        if shutil.which("systemd-analyze", path=self._env.get("PATH")) is None:
            return
        with tempfile.TemporaryDirectory(prefix="moongate-unit-") as directory:
            file = Path(directory) / self.service_name
            file.write_bytes(text)
            kind = [] if self._site.system else ["--user"]
            done = self._run(
                ["systemd-analyze", "verify", *kind, "--man=no", str(file)], self._env, MANAGER_TIMEOUT_SECONDS
            )
        said = [line for line in (done.out + done.err).splitlines() if self.service_name in line]
        if said:
            raise GatewayError("\n".join(said))

    def _reload_units(self) -> None:
        self._run_checked("daemon-reload")
        found = self._read_properties("FragmentPath")["FragmentPath"]
        if found and Path(found) != self.unit_path:
            raise GatewayError(f"systemd uses {found}, not {self.unit_path}: it has another XDG_CONFIG_HOME.")

    def _forget_unit(self) -> None:
        self._run_checked("daemon-reload")
        self._run_systemctl("reset-failed", self.service_name)  # it fails if there is nothing to reset, which is fine

    # --- asking -----------------------------------------------------------------------------

    def ask_status(self) -> ServiceStatus:
        said = self._read_properties("ActiveState", "SubState", "MainPID", "UnitFileState", "NFileDescriptorStore")
        state, detail = said["ActiveState"], said["SubState"]
        pid = int(said["MainPID"]) if said["MainPID"].isdigit() else 0
        shown = f"{state} ({detail})" if detail else state
        return ServiceStatus(
            shown,
            running=state in _ACTIVE_STATES,
            pid=pid or None,
            enabled=said["UnitFileState"] == "enabled",
            keeps_listener=said["NFileDescriptorStore"] not in ("", "0"),
        )

    def start_service(self) -> None:
        self._run_checked("start", self.service_name)

    def stop_service(self, *, force: bool = False) -> None:
        if force:
            self._run_checked(
                "stop", "--no-block", self.service_name
            )  # first, because systemd would otherwise start it again
            self._run_systemctl("kill", "--signal=SIGKILL", self.service_name)
        self._run_checked("stop", self.service_name, timeout_seconds=self._stop_timeout_seconds)

    def find_rivals(self, spec: ServiceSpec) -> list[Path]:
        return unit_file.find_rivals(
            self.unit_path, (self._unit_directory, SYSTEM_UNIT_DIRECTORY), self._parse_unit, spec
        )

    def list_hints(self) -> list[str]:
        if self._site.system or (LINGER_DIRECTORY / self._site.user).exists():
            return []
        return [
            "It runs from your first login to your last logout. To run it from boot, and after logout:",
            f"  loginctl enable-linger {self._site.user}      (if that is refused, with sudo)",
        ]

    def _read_properties(self, *properties: str) -> dict[str, str]:
        done = self._run_systemctl("show", self.service_name, *(f"--property={name}" for name in properties))
        if done.code:
            raise Unavailable(f"{self._format_command('show', self.service_name)}: {describe_failure(done)}")
        said = dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)
        return {name: said.get(name, "") for name in properties}

    def _run_checked(self, *words: str, timeout_seconds: float = MANAGER_TIMEOUT_SECONDS) -> None:
        done = self._run_systemctl(*words, timeout_seconds=timeout_seconds)
        if done.code:
            rootless = self._site.system and os.geteuid() != 0
            remedy = f"Run: sudo {self._format_command(*words)}" if rootless else None
            raise GatewayError(f"{self._format_command(*words)}: {describe_failure(done)}", remedy=remedy)

    def _run_systemctl(self, *words: str, timeout_seconds: float = MANAGER_TIMEOUT_SECONDS) -> CommandResult:
        return self._run([*self._command_words, *words], self._env, timeout_seconds)

    @property
    def _stop_timeout_seconds(self) -> float:
        with contextlib.suppress(GatewayError):
            found = self.read_installed_spec()
            if found is not None:
                return max(MANAGER_TIMEOUT_SECONDS, found.stop_seconds + 10.0)
        return MANAGER_TIMEOUT_SECONDS

    def _format_command(self, *words: str) -> str:
        return " ".join([*self._command_words, *words])

    def _status_hint(self, verb: str) -> str:
        return f"See: {self._format_command(verb, self.service_name)}"


_START_WITHOUT_SYSTEMD = f"{START_WITHOUT_SERVICE}, or add a line to your crontab: @reboot gateway start"
_REPORT_UNIT = "This is a bug. To see the unit: gateway install --dry-run"
