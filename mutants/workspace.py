"""A copy of the tree with a Python of its own, in which a mutant's tests run, away from everything else.

A mutant may signal any process or remove any directory, since the conditions that hold it back are what is changed.
So its tests run in a process namespace of their own, which Linux ends as a whole, with a home and temporary files of
their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

_AS_USER = () if os.geteuid() == 0 else ("--user", "--map-root-user")
_NAMESPACE = ("unshare", *_AS_USER, "--pid", "--fork", "--mount-proc", "--kill-child", "setsid")
_FIRST_PROCESS = '"$@"; exit $?'  # the shell stays, and reaps what the tests leave behind
_OUTPUT_LINES = 30


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status, or None if its time was up; and the last lines that it printed."""

    status: int | None
    output: str


class Workspace:
    """A copy of the project's files in `directory`."""

    def __init__(self, project: Path, directory: Path, tools: Path) -> None:
        self.tree = directory / "tree"
        self._scratch = directory / "scratch"
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=project, check=True, capture_output=True,
        )  # fmt: skip
        for name in filter(None, files.stdout.decode().split("\0")):
            if (source := project / name).is_file():
                target = self.tree / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        self._python = self._make_python(tools)
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    def _make_python(self, tools: Path) -> Path:
        """Make a virtual environment that finds the copy first, then this one's packages, and return its Python."""
        home = self.tree / ".venv"
        venv.create(home, symlinks=True, with_pip=False)
        own = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
        paths = (self.tree, sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), tools)
        (own / "copy.pth").write_text("\n".join(dict.fromkeys(map(str, paths))) + "\n", encoding="utf-8")
        python = home / "bin" / "python"
        for name in ("gateway", "moongate"):
            script = (Path(sys.prefix) / "bin" / name).read_text(encoding="utf-8").splitlines(keepends=True)
            (home / "bin" / name).write_text("".join([f"#!{python}\n", *script[1:]]), encoding="utf-8")
            (home / "bin" / name).chmod(0o755)
        return python

    def close(self) -> None:
        """End what runs, with all that it started, and run nothing more."""
        self._closed = True
        if self._running is not None:
            self._running.kill()

    def run_module(self, *arguments: str, seconds: float, environment: dict[str, str] | None = None) -> Ended:
        """Run `python -m ARGUMENTS` in the copy for at most `seconds`; then end it with all that it started.

        Raises FileNotFoundError if the machine has no `unshare`, and RuntimeError if it allows no namespaces.
        """
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        temporary = tempfile.mkdtemp(prefix="m-")  # short: paths of sockets have at most 107 bytes
        home = self._scratch / "home"
        home.mkdir()
        output = self._scratch / "output"
        try:
            with output.open("wb") as sink:
                process = self._running = subprocess.Popen(
                    [*_NAMESPACE, "bash", "-c", _FIRST_PROCESS, "bash", str(self._python), "-m", *arguments],
                    cwd=self.tree,
                    env={**os.environ, "HOME": str(home), "TMPDIR": temporary, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                )
                try:
                    status: int | None = process.wait(0 if self._closed else seconds)
                except subprocess.TimeoutExpired:
                    status = None
                finally:
                    process.kill()
                    process.wait()
            lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        if lines and lines[0].startswith("unshare: "):
            raise RuntimeError(f"This machine allows no namespaces of processes: {lines[0]}")
        return Ended(status, "\n".join(lines[-_OUTPUT_LINES:]))
