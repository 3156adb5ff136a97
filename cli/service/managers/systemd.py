"""Manages a systemd service, of a user or of the whole system, with `systemctl`. Needs no D-Bus."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from cli.service import unit_file
from cli.service.manager import OTHERWISE, Site, Status
from cli.service.manager_command import PATIENCE, Done, Run, describe_failure
from cli.service.steps import UNWRITTEN, Step, undo_nothing
from gateway.errors import ConfigError, GatewayError, Unavailable
from service_templates import ServiceSpec, systemd

#: directory of the units of the whole system
SYSTEM_UNITS = Path("/etc/systemd/system")
#: directory with a file for each user whose services keep running after logout
LINGER = Path("/var/lib/systemd/linger")
#: seconds that reading the journal may take
LOOKED = 10.0
#: states in which systemd runs the service, or is about to
_BUSY = ("active", "activating", "reloading", "deactivating")


class Systemd:
    """Manages one unit."""

    name = "systemd"

    def __init__(self, site: Site, run: Run) -> None:
        self._site = site
        self._run = run
        self._env = dict(site.env)
        if not site.system:
            self._env.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")

    @property
    def service(self) -> str:
        return systemd.name(self._site.suffix)

    @property
    def file(self) -> Path:
        return self._directory / self.service

    @property
    def present(self) -> bool:
        return os.path.lexists(self.file) or self._link.is_symlink()

    @property
    def _link(self) -> Path:
        """The link that starts the service automatically."""
        target = "multi-user.target" if self._site.system else "default.target"
        return self._directory / f"{target}.wants" / self.service

    @property
    def journal(self) -> str:
        return f"journalctl {'' if self._site.system else '--user '}-u {self.service} -n 20"

    def printed(self, since: float) -> str:
        words = ["journalctl", *([] if self._site.system else ["--user"]), "--quiet", "--no-pager", "--output=cat"]
        field = "_SYSTEMD_UNIT" if self._site.system else "_SYSTEMD_USER_UNIT"  # only what the service itself printed
        with contextlib.suppress(Unavailable):
            done = self._run(
                [*words, f"--since=@{since:.3f}", "--lines=1", f"{field}={self.service}"], self._env, LOOKED
            )
            return done.out.strip() if done.code == 0 else ""
        return ""

    @property
    def _directory(self) -> Path:
        if self._site.system:
            return SYSTEM_UNITS
        base = self._env.get("XDG_CONFIG_HOME") or str(Path(self._env.get("HOME") or Path.home()) / ".config")
        return Path(base) / "systemd" / "user"

    @property
    def _words(self) -> list[str]:
        return ["systemctl"] if self._site.system else ["systemctl", "--user"]

    def require(self) -> None:
        if shutil.which("systemctl", path=self._env.get("PATH")) is None:
            raise Unavailable("this system has no systemd.", remedy=_OTHERWISE)
        if self._site.system:
            if not Path("/run/systemd/system").is_dir():
                raise Unavailable("this system was not started by systemd.", remedy=_OTHERWISE)
            return
        # systemctl needs only this socket and no D-Bus; a container can have it, too.
        line = Path(self._env["XDG_RUNTIME_DIR"]) / "systemd" / "private"
        if not line.exists():
            raise Unavailable(
                f"there is no systemd for this user: {line} does not exist.",
                remedy="Log in as this user directly, not with su or sudo, or keep its services running:"
                f" sudo loginctl enable-linger {self._site.user}\n"
                f"Or install it for the whole system: sudo gateway install --system. {_OTHERWISE}",
            )

    def render(self, spec: ServiceSpec) -> bytes:
        try:
            return systemd.render(spec).encode()
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def installed(self) -> ServiceSpec | None:
        return unit_file.read_spec(self.file, self._parsed)

    def _parsed(self, data: bytes) -> ServiceSpec:
        text = data.decode()
        return systemd.parse(text, user=self._site.user, output=self._site.output, suffix=self._site.suffix)

    # --- steps ------------------------------------------------------------------------------

    def installation(self, spec: ServiceSpec, *, start: bool = True) -> list[Step]:
        text = self.render(spec)
        before = unit_file.read_content(self.file)
        was = self.status() if before is not None else Status("inactive", running=False, pid=None, enabled=False)

        def restore_unit() -> None:
            unit_file.replace_content(self.file, before)
            self._ask("daemon-reload")
            if was.running and start:
                self._ask("restart", self.service)

        def disable_unit() -> None:
            if not was.enabled:
                self._ask("disable", self.service)

        steps = [
            Step("verify the unit", "systemd-analyze verify", lambda: self._verify(text), undo_nothing, _REPORT),
            Step(
                "write the unit",
                f"write {self.file}",
                lambda: unit_file.replace_content(self.file, text),
                restore_unit,
                UNWRITTEN,
            ),
            Step(
                "reload systemd's units",
                self._shown("daemon-reload"),
                self._reload,
                undo_nothing,
                self._look("status"),
            ),
            Step(
                "enable the service",
                self._shown("enable", self.service),
                lambda: self._ask("enable", self.service),
                disable_unit,
                self._look("status"),
            ),
        ]
        if start:
            steps.append(
                Step(
                    "start the service",
                    self._shown("restart", self.service),
                    lambda: self._ask("restart", self.service, patience=self._stop_seconds),
                    lambda: self._ask("stop", self.service, patience=self._stop_seconds),
                    f"See why: gateway logs, or {self.journal}",
                )
            )
        return steps

    def removal(self) -> list[Step]:
        before = unit_file.read_content(self.file)
        was = self.status()

        def restore_unit() -> None:
            unit_file.replace_content(self.file, before)
            self._ask("daemon-reload")

        def stop_unit() -> None:
            if before is not None or was.running:  # systemd refuses to stop an unknown service
                self._ask("stop", self.service, patience=self._stop_seconds)

        return [
            Step(
                "stop the service",
                self._shown("stop", self.service),
                stop_unit,
                lambda: self._ask("start", self.service) if was.running else None,
                self._look("status"),
            ),
            Step(
                "disable the service",
                self._shown("disable", self.service),
                lambda: self._ask("disable", self.service),
                lambda: self._ask("enable", self.service) if was.enabled else None,
                self._look("status"),
            ),
            Step(
                "remove the unit",
                f"rm {self.file}",
                lambda: unit_file.replace_content(self.file, None),
                restore_unit,
                UNWRITTEN,
            ),
            Step(
                "make systemd forget the unit",
                self._shown("daemon-reload"),
                self._forget,
                undo_nothing,
                self._look("status"),
            ),
        ]

    def _verify(self, text: bytes) -> None:
        """Check the unit with `systemd-analyze`, if it is there."""
        if shutil.which("systemd-analyze", path=self._env.get("PATH")) is None:
            return
        with tempfile.TemporaryDirectory(prefix="moongate-unit-") as directory:
            file = Path(directory) / self.service
            file.write_bytes(text)
            kind = [] if self._site.system else ["--user"]
            done = self._run(["systemd-analyze", "verify", *kind, "--man=no", str(file)], self._env, PATIENCE)
        said = [line for line in (done.out + done.err).splitlines() if self.service in line]
        if said:
            raise GatewayError("\n".join(said))

    def _reload(self) -> None:
        self._ask("daemon-reload")
        found = self._show("FragmentPath")["FragmentPath"]
        if found and Path(found) != self.file:
            raise GatewayError(f"systemd uses {found}, not {self.file}: it has another XDG_CONFIG_HOME.")

    def _forget(self) -> None:
        self._ask("daemon-reload")
        self._systemctl("reset-failed", self.service)  # it fails if there is nothing to reset, which is fine

    # --- asking -----------------------------------------------------------------------------

    def status(self) -> Status:
        said = self._show("ActiveState", "SubState", "MainPID", "UnitFileState")
        state, detail = said["ActiveState"], said["SubState"]
        pid = int(said["MainPID"]) if said["MainPID"].isdigit() else 0
        shown = f"{state} ({detail})" if detail else state
        return Status(shown, running=state in _BUSY, pid=pid or None, enabled=said["UnitFileState"] == "enabled")

    def start(self) -> None:
        self._ask("start", self.service)

    def stop(self, *, force: bool = False) -> None:
        if force:
            self._ask("stop", "--no-block", self.service)  # first, because systemd would otherwise start it again
            self._systemctl("kill", "--signal=SIGKILL", self.service)
        self._ask("stop", self.service, patience=self._stop_seconds)

    def rivals(self, spec: ServiceSpec) -> list[Path]:
        return unit_file.find_rivals(self.file, (self._directory, SYSTEM_UNITS), self._parsed, spec)

    def hints(self) -> list[str]:
        if self._site.system or (LINGER / self._site.user).exists():
            return []
        return [
            "It runs from your first login to your last logout. To run it from boot, and after logout:",
            f"  loginctl enable-linger {self._site.user}      (if that is refused, with sudo)",
        ]

    def _show(self, *properties: str) -> dict[str, str]:
        done = self._systemctl("show", self.service, *(f"--property={name}" for name in properties))
        if done.code:
            raise Unavailable(f"{self._shown('show', self.service)}: {describe_failure(done)}")
        said = dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)
        return {name: said.get(name, "") for name in properties}

    def _ask(self, *words: str, patience: float = PATIENCE) -> None:
        done = self._systemctl(*words, patience=patience)
        if done.code:
            rootless = self._site.system and os.geteuid() != 0
            remedy = f"Run: sudo {self._shown(*words)}" if rootless else None
            raise GatewayError(f"{self._shown(*words)}: {describe_failure(done)}", remedy=remedy)

    def _systemctl(self, *words: str, patience: float = PATIENCE) -> Done:
        return self._run([*self._words, *words], self._env, patience)

    @property
    def _stop_seconds(self) -> float:
        with contextlib.suppress(GatewayError):
            found = self.installed()
            if found is not None:
                return max(PATIENCE, found.stop_seconds + 10.0)
        return PATIENCE

    def _shown(self, *words: str) -> str:
        return " ".join([*self._words, *words])

    def _look(self, verb: str) -> str:
        return f"See: {self._shown(verb, self.service)}"


_OTHERWISE = f"{OTHERWISE}, or add a line to your crontab: @reboot gateway start"
_REPORT = "This is a bug. To see the unit: gateway install --dry-run"
