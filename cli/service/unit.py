"""Decides what the unit of a gateway contains: program, arguments, PATH and environment."""

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
from cli.instance import Instance
from cli.service import lookup
from gateway import config, paths
from gateway.config import Config
from gateway.errors import ConfigError
from service_templates import ServiceSpec

#: seconds that a stop may take beyond its grace period
STOP_MARGIN_SECONDS = 15
#: seconds that a login shell may take to print its PATH
LOGIN_SHELL_TIMEOUT_SECONDS = 10.0

#: how the gateway is run: by the interpreter, or by the installed command
Runtime = Literal["python", "binary"]


def build_spec(
    instance: Instance,
    *,
    arguments: tuple[str, ...],
    runtime: Runtime,
    path: str,
    system: bool = False,
    lasting: bool = True,
) -> ServiceSpec:
    """Return the spec of the unit of a gateway.

    Args:
        arguments: options of the gateway that the user gave, such as the port.
        path: PATH for the agents.
        lasting: whether to refuse a program that will not stay where it is.

    Raises:
        ConfigError: the program is in a temporary directory, or a unit cannot contain a value.
    """
    environment = tuple(_unit_environment(instance))
    settings = config.load({**_home_variable(instance), **dict(environment)})
    program, before, reload = _find_program(runtime, instance.env)
    if lasting:
        require_lasting_path(program, instance.env)
    try:
        return ServiceSpec(
            program=program,
            arguments=(*before, *arguments),
            reload=reload,
            directory=str(instance.home),
            path=path,
            environment=environment,
            output=str(paths.logs_directory(instance.home) / "service.log"),
            stop_seconds=compute_stop_seconds(settings),
            confined=settings.gateway.confined,
            user=lookup.user_name(instance, system=system),
            system=system,
            suffix=lookup.choose_suffix(instance, system=system),
            version=gateway.__version__,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build_current_spec(instance: Instance, present: ServiceSpec) -> ServiceSpec:
    """Return the spec that this version would write for an installed unit, with the same options.

    Raises:
        ConfigError: the unit could not be written from here.
    """
    runtime, given = read_options(present)
    return build_spec(instance, arguments=given, runtime=runtime, path=present.path, system=present.system)


def read_options(present: ServiceSpec) -> tuple[Runtime, tuple[str, ...]]:
    """Return the runtime and the options of the gateway that an installed unit was written with."""
    if present.arguments[:2] == ("-m", "gateway"):
        return "python", present.arguments[2:]
    return "binary", present.arguments[1:]


def service_environment(spec: ServiceSpec, instance: Instance) -> dict[str, str]:
    """Return the environment of the service, with the options of its unit as the variables that mean the same."""
    seen = {**_home_variable(instance), "PATH": spec.path, **dict(spec.environment)}
    listens = dict(zip(spec.arguments, spec.arguments[1:], strict=False))
    for option, name in (("--host", "MOONGATE_HOST"), ("--port", "MOONGATE_PORT"), ("--role", "MOONGATE_ROLE")):
        if option in listens:
            seen[name] = listens[option]
    return seen


def _home_variable(instance: Instance) -> dict[str, str]:
    return {"HOME": instance.env["HOME"]} if "HOME" in instance.env else {}


def load_service_settings(spec: ServiceSpec, instance: Instance) -> Config:
    """Return the settings as the service will see them.

    Raises:
        ConfigError: the gateway could not start with them.
    """
    return config.load(service_environment(spec, instance))


def compute_stop_seconds(settings: Config) -> int:
    return math.ceil(settings.gateway.stop_grace) + STOP_MARGIN_SECONDS


def _unit_environment(instance: Instance) -> Iterator[tuple[str, str]]:
    """Yield the variables that the gateway needs: mainly directories that are not the default ones."""
    usual = {name: value for name, value in instance.env.items() if not name.startswith("MOONGATE_")}
    if instance.home != paths.state_directory(usual):
        yield "MOONGATE_HOME", str(instance.home)
    if instance.config != paths.config_file({**usual, "MOONGATE_HOME": str(instance.home)}):
        yield "MOONGATE_CONFIG", str(instance.config)
    yield "PYTHONSAFEPATH", "1"  # Python must not import files in the state directory


def _find_program(runtime: Runtime, env: Mapping[str, str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the program, the arguments that run the gateway, and the arguments that restart it."""
    if runtime == "python":
        return _name_interpreter(), ("-m", "gateway"), ("-m", "cli.main", "restart")
    called = sys.argv[0] if Path(sys.argv[0]).name in ("gateway", "moongate") else "gateway"
    found = shutil.which(called, path=env.get("PATH"))
    if found is None:
        raise ConfigError("there is no gateway command on PATH.", remedy="Use --runtime python.")
    return os.path.abspath(found), ("run",), ("restart",)


def _name_interpreter() -> str:
    """Return the path of this Python, by the same name however it was started.

    In a virtual environment, some installers of the `gateway` command start `python`, others `python3`.
    """
    usual = Path(sys.executable).with_name("python")
    is_in_environment = os.name == "posix" and sys.prefix != sys.base_prefix
    return str(usual) if is_in_environment and usual.exists() else sys.executable


def require_lasting_path(program: str, env: Mapping[str, str]) -> None:
    """Check that a program will stay where it is.

    Raises:
        ConfigError: the path is in a temporary directory, or may lead to another program later.
    """
    path = Path(program)
    remedy = "Install Moongate permanently, such as with pipx or uv tool install, then: gateway install"
    if not path.is_absolute():
        raise ConfigError(f"{program!r} is not an absolute path.", remedy=remedy)
    if any(path.is_relative_to(place) for place in _temporary_directories(env)):
        raise ConfigError(f"{program} is in a temporary directory, which the system clears.", remedy=remedy)
    if path.parent.name == "shims":
        raise ConfigError(f"{program} is a shim, which may run another Python later.", remedy=remedy)


def list_program_hints(spec: ServiceSpec, env: Mapping[str, str]) -> list[str]:
    """Return why an installation from here would be refused, if the program will not stay where it is."""
    try:
        require_lasting_path(spec.program, env)
    except ConfigError as error:
        return [f"The installation itself would be refused: {error}"]
    return []


def _temporary_directories(env: Mapping[str, str]) -> set[str]:
    """Return directories that are cleared automatically: of the system, and the caches of uvx and pipx run."""
    cache = str(paths.base_directory(env, "XDG_CACHE_HOME", ".cache"))
    system = {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", "/run"}  # noqa: S108 these are refused
    return system | {cache, env.get("UV_CACHE_DIR") or cache}


def build_search_path(env: Mapping[str, str], user: str | None = None) -> str:
    """Return the PATH for agents: that of the login shell, then what this shell has in addition.

    Directories that are temporary, missing or not absolute are left out.

    Args:
        user: the user whose login shell is asked; this user if None.
    """
    here = env.get("PATH", "") if user is None else ""
    found = [*_ask_login_shell(env, user).split(os.pathsep), *here.split(os.pathsep)]
    return os.pathsep.join(_filter_lasting(found, _temporary_directories(env))) or os.defpath


def _filter_lasting(directories: Iterable[str], temporary: set[str]) -> Iterator[str]:
    seen: set[str] = set()
    for directory in directories:
        path = Path(directory)
        fit = path.is_absolute() and path.is_dir() and directory.isprintable()
        if fit and directory not in seen and not any(path.is_relative_to(other) for other in temporary):
            seen.add(directory)
            yield directory


def _ask_login_shell(env: Mapping[str, str], user: str | None) -> str:
    """Return the PATH of a login shell; empty if the shell does not print it."""
    if os.name != "posix":
        return ""
    import pwd  # late: does not exist on Windows

    try:
        entry = pwd.getpwuid(os.getuid()) if user is None else pwd.getpwnam(user)
    except KeyError:  # as in a container with any user id
        home, known_shell = env.get("HOME", "/"), None
    else:
        home, known_shell = entry.pw_dir, entry.pw_shell
    shell = (env.get("SHELL") if user is None else None) or known_shell or "/bin/sh"
    words = [shell, "-l", "-c", "/usr/bin/env"]
    try:
        done = subprocess.run(
            words,
            env={"HOME": home, **(env if user is None else {}), "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LOGIN_SHELL_TIMEOUT_SECONDS,
            start_new_session=True,
            check=False,
            user=user,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return next((line.removeprefix("PATH=") for line in reversed(lines) if line.startswith("PATH=")), "")


def list_unseen_variables(env: Mapping[str, str]) -> list[str]:
    """Return the variables of this shell that set settings. A service does not see them."""
    known = {name for setting in config.list_settings() for name in setting.env}
    return sorted(name for name in known if env.get(name))
