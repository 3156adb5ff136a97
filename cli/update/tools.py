"""Runs the programs that install packages: pip of the environment, uv, or a pip made for the purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.errors import GatewayError, Unavailable

#: seconds that one command of an installer may take
INSTALL_TIMEOUT_SECONDS = 1800.0
#: seconds that a question to the package index may take
INDEX_TIMEOUT_SECONDS = 120.0
#: seconds that a command of the other version may take
PROGRAM_TIMEOUT_SECONDS = 120.0
#: characters of what a failed command printed
MAX_SAID_CHARACTERS = 600


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The end of what it printed, for a message."""
        return "\n".join((self.err.strip() or self.out.strip()).splitlines()[-6:])[-MAX_SAID_CHARACTERS:]


def run_program(words: Sequence[object], env: Mapping[str, str], within: float, cwd: Path | None = None) -> Done:
    """Run a program to its end.

    Raises:
        Unavailable: it cannot be started, or does not end in time.
    """
    said = [str(word) for word in words]
    try:
        done = subprocess.run(
            said,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{Path(said[0]).name} did not end within {within:g} s.") from error
    except OSError as error:
        raise Unavailable(f"{said[0]} cannot be started: {error.strerror}.") from error
    return Done(done.returncode, done.stdout, done.stderr)


class Installer(NamedTuple):
    """Installs packages into an environment."""

    #: the words before `install`
    words: tuple[str, ...]
    #: the words that name the environment, after `install`
    target: tuple[str, ...]
    env: Mapping[str, str]
    is_uv: bool

    def install(self, *arguments: str, cwd: Path | None = None) -> Done:
        quiet = () if self.is_uv else ("--no-input", "--disable-pip-version-check")
        return run_program(
            [*self.words, "install", *self.target, *quiet, *arguments], self.env, INSTALL_TIMEOUT_SECONDS, cwd
        )

    def check(self) -> Done:
        """Check that the packages of the environment fit together."""
        return run_program([*self.words, "check", *self.target], self.env, PROGRAM_TIMEOUT_SECONDS)


def interpreter_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find_installer(environment: Path, env: Mapping[str, str], tools: Path) -> Installer:
    """Return what installs packages into an environment.

    Args:
        tools: directory for a pip, if the environment has none and there is no uv.

    Raises:
        GatewayError: none can be made.
    """
    python = str(interpreter_of(environment))
    if run_program([python, "-m", "pip", "--version"], env, PROGRAM_TIMEOUT_SECONDS).code == 0:
        return Installer((python, "-m", "pip"), (), env, is_uv=False)
    if (uv := shutil.which("uv", path=env.get("PATH"))) is not None:
        return Installer((uv, "pip"), ("--python", python), env, is_uv=True)
    shutil.rmtree(tools, ignore_errors=True)
    made = run_program([python, "-m", "venv", tools], env, INSTALL_TIMEOUT_SECONDS)
    if made.code != 0:
        raise GatewayError(
            f"the environment {environment} has no pip, and none can be made: {made.last_words}",
            remedy="Install uv, or the package python3-venv.",
        )
    return Installer((str(interpreter_of(tools)), "-m", "pip", "--python", python), (), env, is_uv=False)


def remove_tools(tools: Path) -> None:
    """Remove a pip that was made for the purpose, if one was."""
    shutil.rmtree(tools, ignore_errors=True)
