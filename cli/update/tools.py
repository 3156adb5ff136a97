"""Runs the programs that install packages: pip of the environment, uv, or a pip made for the purpose."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cli.update.origin import Origin
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


#: ends well if there is a pip, without starting it
_FIND_PIP = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pip') is None)"
#: settings of pip that say how to reach an index, and not which one
_REACHING = frozenset({"proxy", "cert", "client-cert", "trusted-host", "timeout", "retries", "keyring-provider"})
#: the same, as variables, with those of the cache
_REACHING_VARIABLES = frozenset(f"PIP_{name.upper().replace('-', '_')}" for name in _REACHING) | {
    "PIP_CACHE_DIR",
    "PIP_NO_CACHE_DIR",
    "PIP_DEFAULT_TIMEOUT",
}
#: variables of pip that would install elsewhere, or something else, or nothing
_MISLEADING = frozenset(
    f"PIP_{name}"
    for name in (
        "TARGET",
        "USER",
        "PREFIX",
        "ROOT",
        "PYTHON",
        "DRY_RUN",
        "NO_DEPS",
        "REPORT",
        "REQUIREMENT",
        "EDITABLE",
    )
)
#: starts of the variables of uv that name an index or another source of packages
_UV_SOURCES = ("UV_INDEX", "UV_EXTRA_INDEX", "UV_DEFAULT_INDEX", "UV_FIND_LINKS", "UV_NO_INDEX", "UV_CONFIG_FILE")


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

    def install_from(self, origin: Origin, requirement: str) -> Done:
        """Install one package, without what it needs, from one place only. No code of it runs."""
        alone = self.use_origin_only()
        return alone.install(
            "--upgrade",
            "--no-deps",
            "--only-binary",
            ":all:",
            *(["--no-config"] if self.is_uv else []),
            *origin.list_words(is_uv=self.is_uv),
            requirement,
        )

    def use_origin_only(self) -> Installer:
        """Return this without any index or option of the settings of pip and uv, but with its proxy and the like."""
        if self.is_uv:
            return self._replace(env={name: it for name, it in self.env.items() if not name.startswith(_UV_SOURCES)})
        own = {name: it for name, it in self.env.items() if not name.startswith("PIP_") or name in _REACHING_VARIABLES}
        listed = ""
        if self.env.get("PIP_CONFIG_FILE") != os.devnull:  # otherwise pip reads no file
            listed = run_program([*self.words, "config", "list"], self.env, PROGRAM_TIMEOUT_SECONDS).out
        for name, value in re.findall(r"^[\w:]+\.([\w-]+)='(.*)'$", listed, re.MULTILINE):
            if name in _REACHING:
                own.setdefault(f"PIP_{name.upper().replace('-', '_')}", value)
        return self._replace(env={**own, "PIP_CONFIG_FILE": os.devnull})

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
    env = {name: value for name, value in env.items() if name not in _MISLEADING}
    if run_program([python, "-c", _FIND_PIP], env, PROGRAM_TIMEOUT_SECONDS).code == 0:
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
