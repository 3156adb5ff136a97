"""What the unit of a gateway is to say: the program, its arguments, PATH and environment."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import gateway
from cli.instance import Place
from cli.service import lookup
from gateway import config, paths
from gateway.config import Config
from gateway.errors import ConfigError
from service_templates import ServiceSpec

#: seconds that a stop may take longer than its grace
MARGIN = 15
#: seconds that a login shell may take to say its PATH
SHELL = 10.0

#: how the gateway is run: by the interpreter, or by the installed command
Runtime = Literal["python", "binary"]


def spec(
    instance: Place, *, arguments: tuple[str, ...], runtime: Runtime, path: str, system: bool = False
) -> ServiceSpec:
    """Return what the unit of a gateway is to say.

    Args:
        arguments: where to listen, as the user said it.
        path: PATH for child agents.

    Raises:
        ConfigError: the program is in a place that does not last, or a value cannot be in a unit.
    """
    environment = tuple(_environment(instance))
    settings = config.load({"HOME": instance.env.get("HOME", ""), **dict(environment)})
    program, before, reload = _program(runtime, instance.env)
    try:
        return ServiceSpec(
            program=program,
            arguments=(*before, *arguments),
            reload=reload,
            directory=str(instance.home),
            path=path,
            environment=environment,
            output=str(paths.logs(instance.home) / "service.log"),
            stop_seconds=stop_seconds(settings),
            confined=settings.gateway.confined,
            user=lookup.user_name(instance, system=system),
            system=system,
            suffix=lookup.name_suffix(instance),
            version=gateway.__version__,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def wanted(instance: Place, present: ServiceSpec) -> ServiceSpec:
    """Return what an installed unit would say if it were written by this Moongate, with the same choices.

    Raises:
        ConfigError: it could not be written from here.
    """
    runtime: Runtime = "python" if present.arguments[:2] == ("-m", "gateway") else "binary"
    given = present.arguments[2:] if runtime == "python" else present.arguments[1:]
    return spec(instance, arguments=given, runtime=runtime, path=present.path, system=present.system)


def stop_seconds(settings: Config) -> int:
    return math.ceil(settings.gateway.stop_grace) + MARGIN


def _environment(instance: Place) -> Iterator[tuple[str, str]]:
    """Yield what the gateway cannot find out by itself: places that are not the usual ones."""
    usual = {name: value for name, value in instance.env.items() if not name.startswith("MOONGATE_")}
    if instance.home != paths.home(usual):
        yield "MOONGATE_HOME", str(instance.home)
    if instance.config != paths.config({**usual, "MOONGATE_HOME": str(instance.home)}):
        yield "MOONGATE_CONFIG", str(instance.config)
    yield "PYTHONSAFEPATH", "1"  # what lies in the state directory is no code of ours


def _program(runtime: Runtime, env: Mapping[str, str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the program, its arguments that run the gateway, and those that restart it."""
    if runtime == "python":
        return lasting(sys.executable, env), ("-m", "gateway"), ("-m", "cli.main", "restart")
    called = sys.argv[0] if Path(sys.argv[0]).name in ("gateway", "moongate") else "gateway"
    found = shutil.which(called, path=env.get("PATH"))
    if found is None:
        raise ConfigError("there is no gateway command on PATH.", remedy="Say --runtime python.")
    return lasting(os.path.abspath(found), env), ("run",), ("restart",)


def lasting(program: str, env: Mapping[str, str]) -> str:
    """Return a program that will be where it is tomorrow.

    Raises:
        ConfigError: it is in a temporary place, or may become another one.
    """
    path = Path(program)
    anew = "Install Moongate in a lasting place, as with pipx or uv tool install, then: gateway install"
    if not path.is_absolute():
        raise ConfigError(f"{program!r} is no absolute path.", remedy=anew)
    if any(path.is_relative_to(place) for place in _fleeting(env)):
        raise ConfigError(f"{program} is in a temporary place, which is cleared one day.", remedy=anew)
    if path.parent.name == "shims":
        raise ConfigError(f"{program} is a shim, which runs another Python one day.", remedy=anew)
    return program


def _fleeting(env: Mapping[str, str]) -> set[str]:
    """Return places that are cleared by themselves: of the system, and the caches of uvx and pipx run."""
    cache = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME") or Path.home()) / ".cache")
    system = {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", "/run"}  # noqa: S108 they are refused
    return system | {cache, env.get("UV_CACHE_DIR") or cache}


def search_path(env: Mapping[str, str], user: str | None = None) -> str:
    """Return the PATH for child agents: what the login shell has, then what this one has beyond that.

    Places that do not last, are not there, or are not absolute are left out.

    Args:
        user: whose login shell, if not this one's.
    """
    here = env.get("PATH", "") if user is None else ""
    found = [*_login_path(env, user).split(os.pathsep), *here.split(os.pathsep)]
    return os.pathsep.join(_kept(found, _fleeting(env))) or os.defpath


def _kept(places: Iterable[str], fleeting: set[str]) -> Iterator[str]:
    seen: set[str] = set()
    for place in places:
        path = Path(place)
        fit = path.is_absolute() and path.is_dir() and place.isprintable()
        if fit and place not in seen and not any(path.is_relative_to(other) for other in fleeting):
            seen.add(place)
            yield place


def _login_path(env: Mapping[str, str], user: str | None) -> str:
    """Return the PATH that a login shell has; nothing if it does not say."""
    if os.name != "posix":
        return ""
    import pwd  # late: not on Windows

    entry = pwd.getpwuid(os.getuid()) if user is None else pwd.getpwnam(user)
    shell = (env.get("SHELL") if user is None else None) or entry.pw_shell or "/bin/sh"
    words = [shell, "-l", "-c", "/usr/bin/env"]
    try:
        done = subprocess.run(
            words,
            env={"HOME": entry.pw_dir, **(env if user is None else {}), "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SHELL,
            start_new_session=True,
            check=False,
            user=user,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return next((line.removeprefix("PATH=") for line in reversed(lines) if line.startswith("PATH=")), "")


def unseen(env: Mapping[str, str]) -> list[str]:
    """Return the variables of this shell that say settings, and that a service does not see."""
    known = {name for setting in config.table() for name in setting.env}
    return sorted(name for name in known if env.get(name))
