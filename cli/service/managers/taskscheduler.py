"""Manages a task of the Windows Task Scheduler, with `schtasks`. Uses its XML, because its text is translated.

Task Scheduler does not tell which process a task has, so the PID comes from the gateway's own lock record.
If this user may not create tasks, a script in the Startup folder starts the gateway instead. The unit's
file is our own copy of the task.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

import psutil

from cli.instance import Place
from cli.lifecycle import stop
from cli.service import unit_file
from cli.service.manager import OTHERWISE, Site, Status
from cli.service.manager_command import PATIENCE, Done, Run, describe_failure, wait_until
from cli.service.steps import UNWRITTEN, Step, undo_nothing
from gateway import config
from gateway.errors import ConfigError, GatewayError, Unavailable
from gateway.supervisor import restart_plan
from gateway.supervisor.record import Record
from service_templates import MARKER, ServiceSpec, taskscheduler

#: seconds that a started gateway may take to write its lock record
FRESH = 30.0
#: seconds beyond its grace period that a gateway may take to end
MARGIN = 15.0
#: folder of the scripts that run at login, inside the user's application data
_STARTUP = Path("Microsoft", "Windows", "Start Menu", "Programs", "Startup")
_MARK = f"{MARKER}=taskscheduler"
_DISABLED = re.compile(r"<Settings>.*?<Enabled>\s*false\s*</Enabled>.*?</Settings>", re.DOTALL)


class TaskScheduler:
    """Manages one task."""

    name = "Task Scheduler"

    def __init__(self, site: Site, run: Run) -> None:
        self._site = site
        self._run = run
        self._env = dict(site.env)
        self._instance = Place.of(site.env)
        #: why Task Scheduler refused the task; empty if it did not
        self._refused = ""

    @property
    def service(self) -> str:
        return taskscheduler.name(self._site.suffix)

    @property
    def file(self) -> Path:
        return self._instance.home / f"{self.service}.xml"

    @property
    def present(self) -> bool:
        return self.file.exists() or self.script.exists()

    @property
    def journal(self) -> str:
        return subprocess.list2cmdline(["type", self._site.output])

    def printed(self, since: float) -> str:
        return unit_file.read_last_line(Path(self._site.output), since)

    @property
    def script(self) -> Path:
        """The path of the script that replaces a task."""
        base = self._env.get("APPDATA") or str(Path.home() / "AppData" / "Roaming")
        return Path(base) / _STARTUP / f"{self.service}.cmd"

    def require(self) -> None:
        if self._site.system:
            raise Unavailable("a task starts at your login, not with the system.", remedy="Leave out --system.")
        if shutil.which("schtasks", path=self._env.get("PATH")) is None:
            raise Unavailable("this system has no Task Scheduler.", remedy=OTHERWISE)

    def render(self, spec: ServiceSpec) -> bytes:
        try:
            return taskscheduler.render(spec)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def installed(self) -> ServiceSpec | None:
        return unit_file.read_spec(self.file, self._parsed)

    def _parsed(self, data: bytes) -> ServiceSpec:
        return taskscheduler.parse(data, path=self._env.get("PATH", ""), stop_seconds=0)

    # --- steps ------------------------------------------------------------------------------

    def installation(self, spec: ServiceSpec, *, start: bool = True) -> list[Step]:
        data, instead = self.render(spec), self._instead(spec)
        before, old_script = unit_file.read_content(self.file), unit_file.read_content(self.script)
        was = self.status()

        def register_again() -> None:
            unit_file.replace_content(self.file, before)
            self._restore(old_script)
            if was.running and start:
                self.start()

        steps = [
            Step(
                "write the task",
                f"write {self.file}",
                lambda: unit_file.replace_content(self.file, data),
                lambda: unit_file.replace_content(self.file, before),
                UNWRITTEN,
            ),
            Step(
                "register the task",
                self._shown("/create", "/tn", self.service, "/xml", str(self.file), "/f"),
                lambda: self._register(instead),
                register_again,
                f"{self._look} If this user may not create tasks, check who may write to {self.script.parent}",
            ),
        ]
        if start:
            if was.running:
                steps.append(Step("stop the old service", "gateway stop", self.stop, undo_nothing, _STOP))
            steps.append(
                Step(
                    "start the service",
                    self._shown("/run", "/tn", self.service),
                    self._begin,
                    self.stop,
                    f"See why: gateway logs, or {self.journal}\n{self._look}",
                )
            )
        return steps

    def removal(self) -> list[Step]:
        before, old_script = unit_file.read_content(self.file), unit_file.read_content(self.script)
        output, was = Path(self._site.output), self.status()
        return [
            Step("stop the service", "gateway stop", self.stop, lambda: self.start() if was.running else None, _STOP),
            Step(
                "delete the task",
                self._shown("/delete", "/tn", self.service, "/f"),
                self._delete,
                lambda: self._restore(old_script),
                self._look,
            ),
            Step(
                "remove the task's file",
                f"del {self.file}",
                lambda: unit_file.replace_content(self.file, None),
                lambda: unit_file.replace_content(self.file, before),
                UNWRITTEN,
            ),
            Step(
                "remove its output file",
                f"del {output}",
                lambda: output.unlink(True),
                undo_nothing,
                UNWRITTEN,
            ),
        ]

    def _instead(self, spec: ServiceSpec) -> bytes | None:
        """Return the script that can replace the task; None if a script cannot express the spec."""
        with contextlib.suppress(ValueError):
            return taskscheduler.script(spec)
        return None

    def _register(self, instead: bytes | None) -> None:
        """Create the task from its file; if Task Scheduler refuses it, create the script."""
        done = self._schtasks("/create", "/tn", self.service, "/xml", str(self.file), "/f")
        self._refused = describe_failure(done) if done.code else ""
        if not self._refused:
            unit_file.replace_content(self.script, None)
        elif instead is None:
            raise GatewayError(self._refused)
        else:
            try:
                unit_file.replace_content(self.script, instead)
            except OSError as error:
                raise GatewayError(
                    f"{self._refused} A script cannot be written to {self.script.parent} either."
                ) from error

    def _restore(self, old_script: bytes | None) -> None:
        """Restore what starts the gateway: the task, whose file is there again, or the script."""
        unit_file.replace_content(self.script, old_script)
        if old_script is None and self.file.exists():
            self._ask("/create", "/tn", self.service, "/xml", str(self.file), "/f")
        elif self._known:
            self._ask("/delete", "/tn", self.service, "/f")

    def _delete(self) -> None:
        if self._known:
            self._ask("/delete", "/tn", self.service, "/f")
        unit_file.replace_content(self.script, None)

    # --- asking -----------------------------------------------------------------------------

    def status(self) -> Status:
        told = self._query()
        enabled = self.script.exists() or (told is not None and not _DISABLED.search(told))
        found = self._ours()
        if found is not None:
            return Status("running", running=True, pid=found.pid, enabled=enabled)
        known = "in the Startup folder" if self.script.exists() else "ready" if enabled else "disabled"
        state = known if told is not None or self.script.exists() else "not registered"
        return Status(state, running=False, pid=None, enabled=enabled)

    def _query(self) -> str | None:
        """Return the XML of the registered task; None if it is not registered."""
        done = self._schtasks("/query", "/tn", self.service, "/xml")
        return None if done.code else done.out.replace("\0", "")

    @property
    def _known(self) -> bool:
        return self._query() is not None

    def _ours(self) -> Record | None:
        """Return the record of the running gateway, if this service started it."""
        found = self._instance.record
        with contextlib.suppress(psutil.Error):
            if found is not None and found.alive and _MARK in psutil.Process(found.pid).cmdline():
                return found
        return None

    def start(self) -> None:
        if self._ours() is None:
            self._begin()

    def _begin(self) -> None:
        if self.script.exists():
            self._run_script()
        else:
            self._ask("/run", "/tn", self.service)
        if not wait_until(lambda: self._ours() is not None, FRESH):
            raise GatewayError(f"the gateway has not started after {FRESH:g} s.")

    def _run_script(self) -> None:
        """Start the gateway in the same way as the script does at login."""
        spec = self.installed()
        if spec is None:
            raise GatewayError(f"{self.file} is gone.", remedy="gateway install")
        process = subprocess.Popen(
            taskscheduler.command(spec),
            cwd=spec.directory,
            env=self._env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **restart_plan.apart(),
        )
        process.returncode = 0  # the process goes on without us; Popen should not warn about that

    def stop(self, *, force: bool = False) -> None:
        found = self._ours()
        if found is not None and not force:
            stop.ask(self._instance, found, self._stop_seconds)
        self._schtasks("/end", "/tn", self.service)  # it fails if the task has ended already, which is fine
        if found is not None:
            stop.end(self._instance, found, 0.0, force=True)

    @property
    def _stop_seconds(self) -> float:
        with contextlib.suppress(GatewayError):
            return config.load(self._env).gateway.stop_grace + MARGIN
        return MARGIN

    def rivals(self, spec: ServiceSpec) -> list[Path]:
        return []  # the list of tasks is translated text, which cannot be searched reliably

    def hints(self) -> list[str]:
        hints = ["It runs from your login to your logout."]
        if self.script.exists():
            why = self._refused or "this user may not create tasks"
            hints = [f"Task Scheduler refused the task ({why}): {self.script} starts it at login. {hints[0]}"]
        return hints

    def _ask(self, *words: str) -> None:
        done = self._schtasks(*words)
        if done.code:
            raise GatewayError(f"{self._shown(*words)}: {describe_failure(done)}")

    def _schtasks(self, *words: str) -> Done:
        return self._run(["schtasks", *words], self._env, PATIENCE)

    @staticmethod
    def _shown(*words: str) -> str:
        return subprocess.list2cmdline(["schtasks", *words])

    @property
    def _look(self) -> str:
        return f"See: {self._shown('/query', '/tn', self.service, '/v', '/fo', 'list')}"


_STOP = "Kill it: gateway stop --force"
