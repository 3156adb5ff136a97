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
from cli.service.manager import OTHERWISE, Site, Status
from cli.service.manager_command import PATIENCE, Done, Run, describe_failure, wait_until
from cli.service.steps import UNWRITTEN, Step, undo_nothing
from gateway import paths
from gateway.errors import ConfigError, GatewayError, Unavailable
from service_templates import ServiceSpec, launchd

#: directory of the property lists of the whole system
SYSTEM_UNITS = Path("/Library/LaunchDaemons")
#: how often to try to load a service
TRIES = 3
#: seconds between tries
PAUSE = 1.0
#: seconds that launchd may take to start a loaded service: more than its pause between two starts
FRESH = 15.0
#: seconds beyond the time for a stop that launchd may take to unload a service
MARGIN = 10.0
#: matches a failure that is temporary: the service is still being unloaded
_NOT_YET = re.compile(r"Input/output error|in progress")
_SAID = re.compile(r"^\t(state|pid) = (.*)$", re.MULTILINE)


class Launchd:
    """Manages one property list."""

    name = "launchd"

    def __init__(self, site: Site, run: Run) -> None:
        self._site = site
        self._run = run
        self._env = dict(site.env)

    @property
    def service(self) -> str:
        return launchd.name(self._site.suffix)

    @property
    def file(self) -> Path:
        return self._directory / f"{self.service}.plist"

    @property
    def present(self) -> bool:
        return self.file.exists()

    @property
    def journal(self) -> str:
        return f"tail -n 20 {shlex.quote(self._site.output)}"

    def printed(self, since: float) -> str:
        return unit_file.read_last_line(Path(self._site.output), since)

    @property
    def _directory(self) -> Path:
        if self._site.system:
            return SYSTEM_UNITS
        return Path(self._env.get("HOME") or Path.home()) / "Library" / "LaunchAgents"

    @cached_property
    def _domain(self) -> str:
        """The launchd domain: the graphical session; without one, the background session of the user."""
        if self._site.system:
            return "system"
        screen = f"gui/{os.getuid()}"
        return screen if self._launchctl("print", screen).code == 0 else f"user/{os.getuid()}"

    @property
    def _target(self) -> str:
        return f"{self._domain}/{self.service}"

    def require(self) -> None:
        if shutil.which("launchctl", path=self._env.get("PATH")) is None:
            raise Unavailable("this system has no launchd.", remedy=OTHERWISE)
        if self._site.system and os.geteuid() != 0:
            raise Unavailable("only root can do that for the whole system.", remedy="Run the command with sudo.")
        done = self._launchctl("print", self._domain)
        if done.code:
            raise Unavailable(
                f"launchd cannot be reached from here: {describe_failure(done)}.",
                remedy=f"Log in as {self._site.user} directly, not with su or sudo. {OTHERWISE}",
            )

    def render(self, spec: ServiceSpec) -> bytes:
        try:
            return launchd.render(spec)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def installed(self) -> ServiceSpec | None:
        return unit_file.read_spec(self.file, self._parsed)

    def _parsed(self, data: bytes) -> ServiceSpec:
        return launchd.parse(data, user=self._site.user)

    # --- steps ------------------------------------------------------------------------------

    def installation(self, spec: ServiceSpec, *, start: bool = True) -> list[Step]:
        data = self.render(spec)
        before = unit_file.read_content(self.file)
        was = self.status()

        def restore_unit() -> None:
            unit_file.replace_content(self.file, before)
            if was.running and start and before is not None:
                self.start()

        steps = [
            self._output_step(),
            Step("verify the property list", "plutil -lint", lambda: self._verify(data), undo_nothing, _REPORT),
            Step("write the property list", f"write {self.file}", self._putting(data), restore_unit, UNWRITTEN),
        ]
        if self._disabled:
            steps.append(
                Step(
                    "enable the service",
                    self._shown("enable", self._target),
                    lambda: self._ask("enable", self._target),
                    lambda: self._ask("disable", self._target),
                    self._look,
                )
            )
        if start:
            steps += [
                Step(
                    "unload the old service",
                    self._shown("bootout", self._target),
                    self._unload,
                    undo_nothing,  # `restore_unit` starts it again, after it has restored the property list
                    self._look,
                ),
                Step(
                    "start the service",
                    self._shown("bootstrap", self._domain, str(self.file)),
                    self._load,
                    self._unload,
                    f"See why: gateway logs, or {self.journal}\n{self._look}",
                ),
            ]
        return steps

    def removal(self) -> list[Step]:
        before = unit_file.read_content(self.file)
        was = self.status()
        output = Path(self._site.output)
        return [
            Step(
                "stop the service",
                self._shown("bootout", self._target),
                self._unload,
                lambda: self.start() if was.running else None,
                self._look,
            ),
            Step(
                "remove the property list",
                f"rm {self.file}",
                self._putting(None),
                lambda: unit_file.replace_content(self.file, before),
                UNWRITTEN,
            ),
            Step(
                "remove its output file",
                f"rm {output}",
                lambda: output.unlink(True),
                undo_nothing,
                UNWRITTEN,
            ),
        ]

    def _output_step(self) -> Step:
        """Return the step that creates the directory of the output file; launchd creates only the file."""
        directory = Path(self._site.output).parent
        there = directory.exists()

        def make_directory() -> None:
            paths.private_directory(directory)
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
            UNWRITTEN,
        )

    def _putting(self, data: bytes | None) -> Callable[[], None]:
        return lambda: unit_file.replace_content(self.file, data)

    def _verify(self, data: bytes) -> None:
        """Check the property list with macOS's `plutil`, if it is there."""
        if shutil.which("plutil", path=self._env.get("PATH")) is None:
            return
        with tempfile.TemporaryDirectory(prefix="moongate-unit-") as directory:
            file = Path(directory) / self.file.name
            file.write_bytes(data)
            done = self._run(["plutil", "-lint", str(file)], self._env, PATIENCE)
        if done.code:
            raise GatewayError(describe_failure(done))

    def _load(self) -> None:
        """Load the service, and wait until its process is there."""
        for attempt in range(TRIES):
            done = self._launchctl("bootstrap", self._domain, str(self.file))
            if self._loaded:
                break
            if attempt == TRIES - 1 or not _NOT_YET.search(done.out + done.err):
                raise GatewayError(
                    f"{self._shown('bootstrap', self._domain, str(self.file))}: {describe_failure(done)}"
                )
            self._unload()
            time.sleep(PAUSE)
        self._see_it_run()

    def _see_it_run(self) -> None:
        if wait_until(lambda: self._runs, FRESH):
            return
        self._launchctl("kickstart", "-k", self._target)
        if not wait_until(lambda: self._runs, FRESH):
            raise GatewayError(f"launchd has loaded the service but starts no process: {self.status().state}.")

    def _unload(self) -> None:
        """Stop the service for good, and wait until it is unloaded."""
        if not self._loaded:
            return
        done = self._launchctl("bootout", self._target, patience=self._stop_seconds)
        if not wait_until(lambda: not self._loaded, self._stop_seconds if done.code == 0 or _busy(done) else 0.0):
            raise GatewayError(f"{self._shown('bootout', self._target)}: {describe_failure(done)}")

    # --- asking -----------------------------------------------------------------------------

    def status(self) -> Status:
        said = self._said()
        enabled = self.file.exists() and not self._disabled
        if said is None:
            return Status("not loaded", running=False, pid=None, enabled=enabled)
        return Status(said.get("state", "loaded"), running=True, pid=_pid(said), enabled=enabled)

    def _said(self) -> dict[str, str] | None:
        """Return state and PID from launchd; None if the service is not loaded."""
        done = self._launchctl("print", self._target)
        return None if done.code else dict(_SAID.findall(done.out))

    @property
    def _runs(self) -> bool:
        return _pid(self._said() or {}) is not None

    @property
    def _loaded(self) -> bool:
        return self._said() is not None

    @property
    def _disabled(self) -> bool:
        """Whether the user has disabled the service. launchd remembers that even without a property list."""
        said = self._launchctl("print-disabled", self._domain).out
        return re.search(rf'"{re.escape(self.service)}" => (disabled|true)\b', said) is not None

    def start(self) -> None:
        if not self._loaded:
            self._load()
        elif not self._runs:
            self._see_it_run()

    def stop(self, *, force: bool = False) -> None:
        if force:
            self._launchctl("kill", "SIGKILL", self._target)
        self._unload()

    def rivals(self, spec: ServiceSpec) -> list[Path]:
        places = (self._directory, Path("/Library/LaunchAgents"), SYSTEM_UNITS)
        return unit_file.find_rivals(self.file, places, self._parsed, spec)

    def hints(self) -> list[str]:
        if self._site.system:
            return []
        hints = ["It runs from your login to your logout. To run it from boot: sudo gateway install --system"]
        if self._domain.startswith("user/"):
            hints.append("Nobody is logged in at the screen, so it runs in the background session, as over ssh.")
        return hints

    def _ask(self, *words: str) -> None:
        done = self._launchctl(*words)
        if done.code:
            raise GatewayError(f"{self._shown(*words)}: {describe_failure(done)}")

    def _launchctl(self, *words: str, patience: float = PATIENCE) -> Done:
        return self._run(["launchctl", *words], self._env, patience)

    @property
    def _stop_seconds(self) -> float:
        with contextlib.suppress(GatewayError):
            found = self.installed()
            if found is not None:
                return found.stop_seconds + MARGIN
        return PATIENCE

    @staticmethod
    def _shown(*words: str) -> str:
        return " ".join(["launchctl", *words])

    @property
    def _look(self) -> str:
        return f"See: {self._shown('print', self._target)}"


def _pid(said: Mapping[str, str]) -> int | None:
    pid = said.get("pid", "")
    return int(pid) if pid.isdigit() else None


def _busy(done: Done) -> bool:
    return _NOT_YET.search(done.out + done.err) is not None


_REPORT = "This is a bug. To see the property list: gateway install --dry-run"
