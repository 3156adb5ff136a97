"""An ordinary account with an empty home, for what an installed package must do alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.command_line import Result

SCRIPT = Path(__file__).parent / "ordinary_account.sh"
#: the number of the account, which has no entry in /etc/passwd
USER = 61235
#: beginnings of the names of variables that say how the registries of packages are reached
_REGISTRY = ("PIP_", "UV_", "SSL_", "HTTP_", "HTTPS_", "NO_PROXY", "ALL_PROXY", "REQUESTS_CA", "CURL_CA")
#: seconds that a command may take: some bring packages from a registry
COMMAND_SECONDS = 300.0


class Account:
    """Where root runs the tests, an account of its own; else whoever runs them, with another home.

    Args:
        reached: directories that its commands need, though they may be below a closed one.
    """

    def __init__(self, *reached: Path) -> None:
        self._reached = [str(directory) for directory in reached]
        self._own = os.name == "posix" and os.getuid() == 0 and shutil.which("setpriv") is not None
        self.place = Path(tempfile.mkdtemp(prefix="moongate-account-"))
        self.place.chmod(0o755)
        self.home = self.make_directory("home")

    def make_directory(self, name: str) -> Path:
        """Return a new directory of the account."""
        directory = self.place / name
        directory.mkdir(mode=0o755)
        if self._own:
            os.chown(directory, USER, USER)
        return directory

    def close(self) -> None:
        """Remove all that the account has."""
        shutil.rmtree(self.place)

    def run(self, *words: str | Path, env: Mapping[str, str] | None = None) -> Result:
        """Run a command from `/` until it ends."""
        command = [str(word) for word in words]
        if self._own:
            command = ["bash", str(SCRIPT), str(USER), *self._reached, "--", *command]
        done = subprocess.run(
            command,
            env={**self._environment(), **(env or {})},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def do(self, *words: str | Path, env: Mapping[str, str] | None = None) -> str:
        """Run a command that must succeed; return what it prints."""
        done = self.run(*words, env=env)
        assert done.code == 0, f"{words}: {done.out}{done.err}"
        return done.out

    def _environment(self) -> dict[str, str]:
        registry = {name: value for name, value in os.environ.items() if name.upper().startswith(_REGISTRY)}
        return {
            **registry,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": f"{self.home}/.local/bin:/usr/bin:/bin",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
