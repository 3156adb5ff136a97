"""Manages a service of launchd on macOS, with `launchctl`: of the logged-in user or of the whole system.

The exit code of `launchctl` is not reliable: it can report failure after success and the other way round.
So each step checks its result afterwards.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from cli.service import unit_file
from cli.service.manager import START_WITHOUT_SERVICE, ServiceIdentity, ServiceStatus
from cli.service.manager_command import (
    MANAGER_TIMEOUT_SECONDS,
    CommandResult,
    CommandRunner,
    describe_failure,
    wait_until,
)
from cli.service.steps import UNWRITABLE_REMEDY, Step, undo_nothing
from gateway import paths
from gateway.errors import ConfigError, GatewayError, NoServiceManager
from service_templates import ServiceSpec, launchd

#: directory of the property lists of the whole system
LAUNCH_DAEMONS_DIRECTORY = Path("/Library/LaunchDaemons")
#: how often to try to load a service
MAX_LOAD_TRIES = 3
#: seconds between tries
LOAD_PAUSE_SECONDS = 1.0
#: seconds that launchd may take to start a loaded service: more than its pause between two starts
LAUNCHD_START_TIMEOUT_SECONDS = 15.0
#: seconds beyond the time for a stop that launchd may take to unload a service
UNLOAD_MARGIN_SECONDS = 10.0
#: matches a failure that is temporary: the service is still being unloaded
_TEMPORARY_FAILURE = re.compile(r"Input/output error|in progress")
_STATE_OR_PID = re.compile(r"^\t(state|pid) = (.*)$", re.MULTILINE)


class Launchd:
    """Manages one property list."""

    name = "launchd"

    def __init__(self, site: ServiceIdentity, run: CommandRunner) -> None:
        self._site = site
        self._run = run
        self._env = dict(site.env)

    @property
    def service_name(self) -> str:
        return launchd.name(self._site.suffix)

    @property
    def unit_path(self) -> Path:
        return self._unit_directory / f"{self.service_name}.plist"

    @property
    def packaged_unit(self) -> Path | None:
        return None

    @property
    def is_present(self) -> bool:
        return self.unit_path.exists()

    @property
    def journal_command(self) -> str:
        return f"tail -n 20 {shlex.quote(self._site.output)}"

    def read_printed_line(self, since: float) -> str:
        return unit_file.read_last_line(Path(self._site.output), since)

    @property
    def _unit_directory(self) -> Path:
        if self._site.system:
            return LAUNCH_DAEMONS_DIRECTORY
        return paths.home_directory(self._env) / "Library" / "LaunchAgents"

    @cached_property
    def _launchd_domain(self) -> str:
        """The launchd domain: the graphical session; without one, the background session of the user."""
        if self._site.system:
            return "system"
        screen = f"gui/{os.getuid()}"
        return screen if self._run_launchctl("print", screen).code == 0 else f"user/{os.getuid()}"

    @property
    def _service_target(self) -> str:
        return f"{self._launchd_domain}/{self.service_name}"

    def require_available(self) -> None:
        if shutil.which("launchctl", path=self._env.get("PATH")) is None:
            raise NoServiceManager("this system has no launchd.", remedy=START_WITHOUT_SERVICE)
        if self._site.system and os.geteuid() != 0:
            raise NoServiceManager("only root can do that for the whole system.", remedy="Run the command with sudo.")
        done = self._run_launchctl("print", self._launchd_domain)
        if done.code:
            raise NoServiceManager(
                f"launchd cannot be reached from here: {describe_failure(done)}.",
                remedy=f"Log in as {self._site.user} directly, not with su or sudo. {START_WITHOUT_SERVICE}",
            )

    def render_unit(self, spec: ServiceSpec) -> bytes:
        try:
            return launchd.render(spec)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def read_installed_spec(self) -> ServiceSpec | None:
        return unit_file.read_spec(self.unit_path, self._parse_unit)

    def _parse_unit(self, data: bytes) -> ServiceSpec:
        return launchd.parse(data, user=self._site.user)

    # --- steps ------------------------------------------------------------------------------

    def plan_installation(self, spec: ServiceSpec, *, start: bool = True) -> list[Step]:
        data = self.render_unit(spec)
        before = unit_file.read_content(self.unit_path)
        was = self.ask_status()

        def restore_unit() -> None:
            unit_file.replace_content(self.unit_path, before)
            if was.running and start and before is not None:
                self.start_service()

        steps = [
            self._output_step(),
            Step(
                "verify the property list",
                "plutil -lint",
                lambda: self._verify_property_list(data),
                undo_nothing,
                _REPORT_PROPERTY_LIST,
            ),
            Step(
                "write the property list",
                f"write {self.unit_path}",
                self._unit_replacer(data),
                restore_unit,
                UNWRITABLE_REMEDY,
            ),
        ]
        if self._is_disabled:
            steps.append(
                Step(
                    "enable the service",
                    self._format_command("enable", self._service_target),
                    lambda: self._run_checked("enable", self._service_target),
                    lambda: self._run_checked("disable", self._service_target),
                    self._status_hint,
                )
            )
        if start:
            steps += [
                Step(
                    "unload the old service",
                    self._format_command("bootout", self._service_target),
                    self._unload_service,
                    undo_nothing,  # `restore_unit` starts it again, after it has restored the property list
                    self._status_hint,
                ),
                Step(
                    "start the service",
                    self._format_command("bootstrap", self._launchd_domain, str(self.unit_path)),
                    self._load_service,
                    self._unload_service,
                    f"See why: gateway logs, or {self.journal_command}\n{self._status_hint}",
                ),
            ]
        return steps

    def plan_removal(self) -> list[Step]:
        before = unit_file.read_content(self.unit_path)
        was = self.ask_status()
        output = Path(self._site.output)
        return [
            Step(
                "stop the service",
                self._format_command("bootout", self._service_target),
                self._unload_service,
                lambda: self.start_service() if was.running else None,
                self._status_hint,
            ),
            Step(
                "remove the property list",
                f"rm {self.unit_path}",
                self._unit_replacer(None),
                lambda: unit_file.replace_content(self.unit_path, before),
                UNWRITABLE_REMEDY,
            ),
            Step(
                "remove its output file",
                f"rm {output}",
                lambda: output.unlink(True),
                undo_nothing,
                UNWRITABLE_REMEDY,
            ),
        ]

    def _output_step(self) -> Step:
        """Return the step that creates the directory of the output file; launchd creates only the file."""
        directory = Path(self._site.output).parent
        there = directory.exists()

        def make_directory() -> None:
            paths.make_private_directory(directory)
            if self._site.system and not there:
                shutil.chown(directory, self._site.user)

        def remove_directory() -> None:
            if not there and not any(directory.iterdir()):
                directory.rmdir()

        return Step(
            "create the directory of its output file",
            f"mkdir -p {directory}",
            make_directory,
            remove_directory,
            UNWRITABLE_REMEDY,
        )

    def _unit_replacer(self, data: bytes | None) -> Callable[[], None]:
        return lambda: unit_file.replace_content(self.unit_path, data)

    def _verify_property_list(self, data: bytes) -> None:
        """Check the property list with macOS's `plutil`, if it is there."""
        if shutil.which("plutil", path=self._env.get("PATH")) is None:
            return
        with tempfile.TemporaryDirectory(prefix="moongate-unit-") as directory:
            file = Path(directory) / self.unit_path.name
            file.write_bytes(data)
            done = self._run(["plutil", "-lint", str(file)], self._env, MANAGER_TIMEOUT_SECONDS)
        if done.code:
            raise GatewayError(describe_failure(done))

    def _load_service(self) -> None:
        """Load the service, and wait until its process is there."""
        for attempt in range(MAX_LOAD_TRIES):
            done = self._run_launchctl("bootstrap", self._launchd_domain, str(self.unit_path))
            if self._is_loaded:
                break
            if attempt == MAX_LOAD_TRIES - 1 or not _TEMPORARY_FAILURE.search(done.out + done.err):
                command = self._format_command("bootstrap", self._launchd_domain, str(self.unit_path))
                raise GatewayError(f"{command}: {describe_failure(done)}")
            self._unload_service()
            time.sleep(LOAD_PAUSE_SECONDS)
        self._ensure_process_runs()

    def _ensure_process_runs(self) -> None:
        if wait_until(lambda: self._has_process, LAUNCHD_START_TIMEOUT_SECONDS):
            return
        self._run_launchctl("kickstart", "-k", self._service_target)
        if not wait_until(lambda: self._has_process, LAUNCHD_START_TIMEOUT_SECONDS):
            raise GatewayError(f"launchd has loaded the service but starts no process: {self.ask_status().state}.")

    def _unload_service(self) -> None:
        """Stop the service for good, and wait until it is unloaded."""
        if not self._is_loaded:
            return
        done = self._run_launchctl("bootout", self._service_target, timeout_seconds=self._stop_timeout_seconds)
        if not wait_until(
            lambda: not self._is_loaded,
            self._stop_timeout_seconds if done.code == 0 or _is_temporary_failure(done) else 0.0,
        ):
            raise GatewayError(f"{self._format_command('bootout', self._service_target)}: {describe_failure(done)}")

    # --- asking -----------------------------------------------------------------------------

    def ask_status(self) -> ServiceStatus:
        said = self._ask_launchd()
        enabled = self.unit_path.exists() and not self._is_disabled
        if said is None:
            return ServiceStatus("not loaded", running=False, pid=None, enabled=enabled)
        return ServiceStatus(said.get("state", "loaded"), running=True, pid=_read_pid(said), enabled=enabled)

    def _ask_launchd(self) -> dict[str, str] | None:
        """Return state and PID from launchd; None if the service is not loaded."""
        done = self._run_launchctl("print", self._service_target)
        return None if done.code else dict(_STATE_OR_PID.findall(done.out))

    @property
    def _has_process(self) -> bool:
        return _read_pid(self._ask_launchd() or {}) is not None

    @property
    def _is_loaded(self) -> bool:
        return self._ask_launchd() is not None

    @property
    def _is_disabled(self) -> bool:
        """Whether the user has disabled the service. launchd remembers that even without a property list."""
        said = self._run_launchctl("print-disabled", self._launchd_domain).out
        return re.search(rf'"{re.escape(self.service_name)}" => (disabled|true)\b', said) is not None

    def start_service(self) -> None:
        if not self._is_loaded:
            self._load_service()
        elif not self._has_process:
            self._ensure_process_runs()

    def stop_service(self, *, force: bool = False) -> None:
        if force:
            self._run_launchctl("kill", "SIGKILL", self._service_target)
        self._unload_service()

    def find_rivals(self, spec: ServiceSpec) -> list[Path]:
        places = (self._unit_directory, Path("/Library/LaunchAgents"), LAUNCH_DAEMONS_DIRECTORY)
        return unit_file.find_rivals(self.unit_path, places, self._parse_unit, spec)

    def list_hints(self) -> list[str]:
        if self._site.system:
            return []
        hints = ["It runs from your login to your logout. To run it from boot: sudo gateway install --system"]
        if self._launchd_domain.startswith("user/"):
            hints.append("Nobody is logged in at the screen, so it runs in the background session, as over ssh.")
        return hints

    def _run_checked(self, *words: str) -> None:
        done = self._run_launchctl(*words)
        if done.code:
            raise GatewayError(f"{self._format_command(*words)}: {describe_failure(done)}")

    def _run_launchctl(self, *words: str, timeout_seconds: float = MANAGER_TIMEOUT_SECONDS) -> CommandResult:
        return self._run(["launchctl", *words], self._env, timeout_seconds)

    @property
    def _stop_timeout_seconds(self) -> float:
        with contextlib.suppress(GatewayError):
            found = self.read_installed_spec()
            if found is not None:
                return found.stop_seconds + UNLOAD_MARGIN_SECONDS
        return MANAGER_TIMEOUT_SECONDS

    @staticmethod
    def _format_command(*words: str) -> str:
        return " ".join(["launchctl", *words])

    @property
    def _status_hint(self) -> str:
        return f"See: {self._format_command('print', self._service_target)}"


def _read_pid(said: Mapping[str, str]) -> int | None:
    pid = said.get("pid", "")
    return int(pid) if pid.isdigit() else None


def _is_temporary_failure(done: CommandResult) -> bool:
    return _TEMPORARY_FAILURE.search(done.out + done.err) is not None


_REPORT_PROPERTY_LIST = "This is a bug. To see the property list: gateway install --dry-run"
