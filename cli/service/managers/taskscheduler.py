"""Manages a task of the Windows Task Scheduler, with `schtasks`. Uses its XML, because its text is translated.

Task Scheduler does not tell which process a task has, so the PID comes from the gateway's own lock record.
If this user may not create tasks, a script in the Startup folder starts the gateway instead. The unit's
file is our own copy of the task.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import psutil

from cli.instance import Instance
from cli.lifecycle import stop
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
from gateway import config
from gateway.errors import ConfigError, GatewayError, NoServiceManager
from gateway.supervisor import restart_plan
from gateway.supervisor.record import Record
from service_templates import MARKER, ServiceSpec, taskscheduler

#: seconds that a started gateway may take to write its lock record
TASK_START_SECONDS = 30.0
#: seconds beyond its grace period that a gateway may take to end
TASK_STOP_MARGIN_SECONDS = 15.0
#: folder of the scripts that run at login, inside the user's application data
_STARTUP_FOLDER = Path("Microsoft", "Windows", "Start Menu", "Programs", "Startup")
_MARKER_ARGUMENT = f"{MARKER}=taskscheduler"
_DISABLED_TASK = re.compile(r"<Settings>.*?<Enabled>\s*false\s*</Enabled>.*?</Settings>", re.DOTALL)


class TaskScheduler:
    """Manages one task."""

    name = "Task Scheduler"

    def __init__(self, site: ServiceIdentity, run: CommandRunner) -> None:
        self._site = site
        self._run = run
        self._env = dict(site.env)
        self._instance = Instance.from_environment(site.env)
        #: why Task Scheduler refused the task; empty if it did not
        self._refused = ""

    @property
    def service_name(self) -> str:
        return taskscheduler.name(self._site.suffix)

    @property
    def unit_path(self) -> Path:
        return self._instance.home / f"{self.service_name}.xml"

    @property
    def packaged_unit(self) -> Path | None:
        return None

    @property
    def is_present(self) -> bool:
        return self.unit_path.exists() or self.script_path.exists()

    @property
    def journal_command(self) -> str:
        return subprocess.list2cmdline(["type", self._site.output])

    def read_printed_line(self, since: float) -> str:
        return unit_file.read_last_line(Path(self._site.output), since)

    @property
    def script_path(self) -> Path:
        """The path of the script that replaces a task."""
        base = self._env.get("APPDATA") or os.path.expanduser("~/AppData/Roaming")
        return Path(base) / _STARTUP_FOLDER / f"{self.service_name}.cmd"

    def require_available(self) -> None:
        if self._site.system:
            raise NoServiceManager("a task starts at your login, not with the system.", remedy="Leave out --system.")
        if shutil.which("schtasks", path=self._env.get("PATH")) is None:
            raise NoServiceManager("this system has no Task Scheduler.", remedy=START_WITHOUT_SERVICE)

    def render_unit(self, spec: ServiceSpec) -> bytes:
        try:
            return taskscheduler.render(spec)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def read_installed_spec(self) -> ServiceSpec | None:
        return unit_file.read_spec(self.unit_path, self._parse_task)

    def _parse_task(self, data: bytes) -> ServiceSpec:
        return taskscheduler.parse(data, path=self._env.get("PATH", ""), stop_seconds=0)

    # --- steps ------------------------------------------------------------------------------

    def plan_installation(self, spec: ServiceSpec, *, start: bool = True) -> list[Step]:
        data, instead = self.render_unit(spec), self._render_script(spec)
        before, old_script = unit_file.read_content(self.unit_path), unit_file.read_content(self.script_path)
        was = self.ask_status()

        def register_again() -> None:
            unit_file.replace_content(self.unit_path, before)
            self._restore_task(old_script)
            if was.running and start:
                self.start_service()

        steps = [
            Step(
                "write the task",
                f"write {self.unit_path}",
                lambda: unit_file.replace_content(self.unit_path, data),
                lambda: unit_file.replace_content(self.unit_path, before),
                UNWRITABLE_REMEDY,
            ),
            Step(
                "register the task",
                self._format_command("/create", "/tn", self.service_name, "/xml", str(self.unit_path), "/f"),
                lambda: self._register_task(instead),
                register_again,
                f"{self._status_hint} If this user may not create tasks,"
                f" check who may write to {self.script_path.parent}",
            ),
        ]
        if start:
            if was.running:
                steps.append(
                    Step("stop the old service", "gateway stop", self.stop_service, undo_nothing, _STOP_REMEDY)
                )
            steps.append(
                Step(
                    "start the service",
                    self._format_command("/run", "/tn", self.service_name),
                    self._begin_running,
                    self.stop_service,
                    f"See why: gateway logs, or {self.journal_command}\n{self._status_hint}",
                )
            )
        return steps

    def plan_removal(self) -> list[Step]:
        before, old_script = unit_file.read_content(self.unit_path), unit_file.read_content(self.script_path)
        output, was = Path(self._site.output), self.ask_status()
        return [
            Step(
                "stop the service",
                "gateway stop",
                self.stop_service,
                lambda: self.start_service() if was.running else None,
                _STOP_REMEDY,
            ),
            Step(
                "delete the task",
                self._format_command("/delete", "/tn", self.service_name, "/f"),
                self._delete_task,
                lambda: self._restore_task(old_script),
                self._status_hint,
            ),
            Step(
                "remove the task's file",
                f"del {self.unit_path}",
                lambda: unit_file.replace_content(self.unit_path, None),
                lambda: unit_file.replace_content(self.unit_path, before),
                UNWRITABLE_REMEDY,
            ),
            Step(
                "remove its output file",
                f"del {output}",
                lambda: output.unlink(True),
                undo_nothing,
                UNWRITABLE_REMEDY,
            ),
        ]

    def _render_script(self, spec: ServiceSpec) -> bytes | None:
        """Return the script that can replace the task; None if a script cannot express the spec."""
        with contextlib.suppress(ValueError):
            return taskscheduler.render_script(spec)
        return None

    def _register_task(self, instead: bytes | None) -> None:
        """Create the task from its file; if Task Scheduler refuses it, create the script."""
        done = self._run_schtasks("/create", "/tn", self.service_name, "/xml", str(self.unit_path), "/f")
        self._refused = describe_failure(done) if done.code else ""
        if not self._refused:
            unit_file.replace_content(self.script_path, None)
        elif instead is None:
            raise GatewayError(self._refused)
        else:
            try:
                unit_file.replace_content(self.script_path, instead)
            except OSError as error:
                raise GatewayError(
                    f"{self._refused} A script cannot be written to {self.script_path.parent} either."
                ) from error

    def _restore_task(self, old_script: bytes | None) -> None:
        """Restore what starts the gateway: the task, whose file is there again, or the script."""
        unit_file.replace_content(self.script_path, old_script)
        if old_script is None and self.unit_path.exists():
            self._run_checked("/create", "/tn", self.service_name, "/xml", str(self.unit_path), "/f")
        elif self._is_registered:
            self._run_checked("/delete", "/tn", self.service_name, "/f")

    def _delete_task(self) -> None:
        if self._is_registered:
            self._run_checked("/delete", "/tn", self.service_name, "/f")
        unit_file.replace_content(self.script_path, None)

    # --- asking -----------------------------------------------------------------------------

    def ask_status(self) -> ServiceStatus:
        told = self._query_task()
        enabled = self.script_path.exists() or (told is not None and not _DISABLED_TASK.search(told))
        found = self._find_own_record()
        if found is not None:
            return ServiceStatus("running", running=True, pid=found.pid, enabled=enabled)
        known = "in the Startup folder" if self.script_path.exists() else "ready" if enabled else "disabled"
        state = known if told is not None or self.script_path.exists() else "not registered"
        return ServiceStatus(state, running=False, pid=None, enabled=enabled)

    def _query_task(self) -> str | None:
        """Return the XML of the registered task; None if it is not registered."""
        done = self._run_schtasks("/query", "/tn", self.service_name, "/xml")
        return None if done.code else done.out.replace("\0", "")

    @property
    def _is_registered(self) -> bool:
        return self._query_task() is not None

    def _find_own_record(self) -> Record | None:
        """Return the record of the running gateway, if this service started it."""
        found = self._instance.lock_record
        with contextlib.suppress(psutil.Error):
            if found is not None and found.is_alive and _MARKER_ARGUMENT in psutil.Process(found.pid).cmdline():
                return found
        return None

    def start_service(self) -> None:
        if self._find_own_record() is None:
            self._begin_running()

    def _begin_running(self) -> None:
        if self.script_path.exists():
            self._run_script()
        else:
            self._run_checked("/run", "/tn", self.service_name)
        if not wait_until(lambda: self._find_own_record() is not None, TASK_START_SECONDS):
            raise GatewayError(f"the gateway has not started after {TASK_START_SECONDS:g} s.")

    def _run_script(self) -> None:
        """Start the gateway in the same way as the script does at login."""
        spec = self.read_installed_spec()
        if spec is None:
            raise GatewayError(f"{self.unit_path} is gone.", remedy="gateway install")
        process = subprocess.Popen(
            taskscheduler.build_command(spec),
            cwd=spec.directory,
            env=self._env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **restart_plan.detached_options(),
        )
        process.returncode = 0  # the process goes on without us; Popen should not warn about that

    def stop_service(self, *, force: bool = False) -> None:
        found = self._find_own_record()
        if found is not None and not force:
            stop.request_stop(self._instance, found, self._stop_timeout_seconds)
        self._run_schtasks("/end", "/tn", self.service_name)  # it fails if the task has ended already, which is fine
        if found is not None:
            stop.end_gateway(self._instance, found, 0.0, force=True)

    @property
    def _stop_timeout_seconds(self) -> float:
        with contextlib.suppress(GatewayError):
            return config.load(self._env).gateway.stop_grace + TASK_STOP_MARGIN_SECONDS
        return TASK_STOP_MARGIN_SECONDS

    def find_rivals(self, spec: ServiceSpec) -> list[Path]:
        return []  # the list of tasks is translated text, which cannot be searched reliably

    def list_hints(self) -> list[str]:
        hints = ["It runs from your login to your logout."]
        if self.script_path.exists():
            why = self._refused or "this user may not create tasks"
            hints = [f"Task Scheduler refused the task ({why}): {self.script_path} starts it at login. {hints[0]}"]
        return hints

    def _run_checked(self, *words: str) -> None:
        done = self._run_schtasks(*words)
        if done.code:
            raise GatewayError(f"{self._format_command(*words)}: {describe_failure(done)}")

    def _run_schtasks(self, *words: str) -> CommandResult:
        return self._run(["schtasks", *words], self._env, MANAGER_TIMEOUT_SECONDS)

    @staticmethod
    def _format_command(*words: str) -> str:
        return subprocess.list2cmdline(["schtasks", *words])

    @property
    def _status_hint(self) -> str:
        return f"See: {self._format_command('/query', '/tn', self.service_name, '/v', '/fo', 'list')}"


_STOP_REMEDY = "Kill it: gateway stop --force"
