"""A home directory with a config, and a fake service manager."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from cli.instance import Instance
from cli.service import install, lookup
from cli.service.install import InstallationPlan
from cli.service.manager import ServiceManager

SUPPORT = Path(__file__).parents[3] / "support"


class Machine:
    """`state` is the state of the fake manager; `files` are the files of the user."""

    def __init__(self, root: Path, program: str, state: dict[str, Any], options: str = "") -> None:
        self.home = root / "home żółć & 'c'"
        self.home.mkdir()
        self.programs = root / "programs"
        self.programs.mkdir()
        self._state = self.programs / "state.json"
        self._state.write_text(json.dumps({"fails_at": "", "asked": [], "real": False, **state}))
        project = SUPPORT.parent.parent
        script = SUPPORT / f"scripted_{program}.py"
        self.script(
            program, f'PYTHONPATH="{project}" exec "{sys.executable}" {options} "{script}" "{self.programs}" "$@"'
        )
        self.config = self.home / ".moongate" / "config.json"
        self.config.parent.mkdir(mode=0o700)
        self.config.write_text(
            json.dumps({"gateway": {"port": 0}, "agents": {"list": [{"id": "main", "backend": "echo"}]}})
        )
        self.env = {
            "HOME": str(self.home),
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
        }

    def script(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads(self._state.read_text()))

    def set(self, **values: Any) -> None:
        self._state.write_text(json.dumps({**self.state, **values}))

    @property
    def asked(self) -> list[str]:
        """The commands that the manager got, without those that only read its state."""
        return list(self.state["asked"])

    @property
    def files(self) -> dict[str, object]:
        """All files in the home directory with content, links and modes; of lock and log files no content."""
        return {
            str(path.relative_to(self.home)): (stat.S_IMODE(path.lstat().st_mode), _content(path))
            for path in self.home.rglob("*")
            if path.is_file() or path.is_relative_to(self.config.parent)
        }

    @property
    def manager(self) -> ServiceManager:
        return lookup.find_manager(Instance.from_environment(self.env))

    def plan(
        self, *arguments: str, token: str | None = None, earnest: bool = True, system: bool = False
    ) -> InstallationPlan:
        return install.plan_installation(
            self.env, arguments=arguments, token=token, runtime="python", system=system, earnest=earnest
        )

    def install(self, *arguments: str, token: str | None = None, wait: float = 60.0) -> dict[str, Any]:
        return self.plan(*arguments, token=token).carry_out(lambda _: None, wait)


def _content(path: Path) -> object:
    if path.is_symlink():
        return os.readlink(path)
    return path.read_bytes() if path.is_file() and path.suffix not in (".lock", ".log") else None
