"""Finds the service of a gateway: its manager on this platform, and whether it is installed and running."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import importlib
import os
import sys
from collections.abc import Mapping

from cli.instance import Instance
from cli.service import managers
from cli.service.manager import ServiceIdentity, ServiceManager
from cli.service.manager_command import CommandRunner, run_command
from gateway import paths
from gateway.errors import ConfigError, Forbidden, NoServiceManager, NotFound, NotRunning, Unavailable
from gateway.supervisor.marker import read_marker

#: module and class of the service manager of each platform
MANAGER_CLASSES = {"linux": "systemd.Systemd", "darwin": "launchd.Launchd", "win32": "taskscheduler.TaskScheduler"}

#: the command that starts the service of the system that a package has brought
PACKAGED_START = "sudo systemctl enable --now moongate"


def find_manager(
    instance: Instance, *, system: bool = False, run: CommandRunner = run_command, platform: str = sys.platform
) -> ServiceManager:
    """Return the service manager of a platform, for the service of one gateway.

    Raises:
        NoServiceManager: Moongate knows none for this platform.
    """
    return _make_manager(instance, choose_suffix(instance, system=system), system=system, run=run, platform=platform)


def _make_manager(
    instance: Instance,
    suffix: str,
    *,
    system: bool,
    run: CommandRunner = run_command,
    platform: str = sys.platform,
) -> ServiceManager:
    known = MANAGER_CLASSES.get(platform)
    if known is None:
        raise NoServiceManager(f"there is no login service for {platform} yet.", remedy="Start it: gateway start")
    module, _, name = known.partition(".")
    user = user_name(instance, system=system)
    output = str(paths.logs_directory(instance.home) / "service.log")
    site = ServiceIdentity(suffix, system, user, output, instance.env)
    made: ServiceManager = getattr(importlib.import_module(f"{managers.__name__}.{module}"), name)(site, run)
    return made


def find_installed(instance: Instance) -> ServiceManager | None:
    """Return the manager of the installed service, of the user or of the system; None if there is none.

    A package of the system brings a unit for everybody: it counts once it is enabled, or runs this gateway.
    """
    for system in (False, True):
        with contextlib.suppress(Unavailable):
            found = find_manager(instance, system=system)
            is_used = found.is_present or (found.packaged_unit is not None and _was_started_by_manager(instance))
            if is_used and not (system and _is_of_another(found, instance)):
                return found
    return None


def find_packaged(instance: Instance) -> ServiceManager | None:
    """Return the manager of the service of the system that a package brings for just this gateway; None if it has none.

    It need not be enabled.
    """
    with contextlib.suppress(Unavailable):
        found = _make_manager(instance, "", system=True)
        if found.packaged_unit is not None and not _is_of_another(found, instance):
            return found
    return None


def _is_of_another(manager: ServiceManager, instance: Instance) -> bool:
    """Return whether a service of the whole system runs the gateway of another user, or one with other files."""
    try:
        spec = manager.read_installed_spec()
    except ConfigError:
        return False  # `gateway doctor` says what is wrong with it
    if spec is None:
        return False
    env = dict(spec.environment)
    files = (env.get("MOONGATE_HOME", str(instance.home)), env.get("MOONGATE_CONFIG", str(instance.config)))
    return spec.user != user_name(instance, system=True) or files != (str(instance.home), str(instance.config))


def require_installed(instance: Instance) -> ServiceManager:
    """Return the manager of the installed service.

    Raises:
        NotRunning: no service is installed.
    """
    found = find_installed(instance)
    if found is None:
        raise NotRunning("no service is installed.", remedy="Install it: gateway install")
    return found


def find_owner(instance: Instance) -> ServiceManager | None:
    """Return the manager that runs the gateway now, or would start it again; None if there is none.

    Raises:
        Unavailable: there is one, but it cannot be reached from here.
    """
    found = find_installed(instance)
    if found is None:
        return None
    try:
        found.require_available()
        return found if found.ask_status().running else None
    except Unavailable:
        if _was_started_by_manager(instance):
            raise
        return None


def system_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that locates the gateway of the user that a system service runs as."""
    if os.name != "posix":
        return dict(env)
    import pwd  # late: does not exist on Windows, where there is no service of the whole system

    name = _real_user_name(env)
    try:
        return {**env, "HOME": pwd.getpwnam(name).pw_dir}
    except KeyError:
        raise NotFound(
            f"there is no user {name!r} on this system, so no service can run as that user.",
            remedy="Run this command as a user with an entry in /etc/passwd.",
        ) from None


def require_root(command: str) -> None:
    """Refuse to change a service of the whole system without root rights.

    Raises:
        Forbidden: this user is not root.
    """
    if os.name == "posix" and os.geteuid() != 0:
        raise Forbidden(
            "only root can change a service of the whole system.",
            remedy=f'Run: sudo "$(command -v gateway)" {command} --system',
        )


def user_name(instance: Instance, *, system: bool) -> str:
    """Return the name of the user that a service runs as."""
    return _real_user_name(instance.env) if system else _login_name(instance.env)


def _real_user_name(env: Mapping[str, str]) -> str:
    return env.get("SUDO_USER") or _process_user()


def _login_name(env: Mapping[str, str]) -> str:
    """Return the name of this user; on Windows with its domain, because the name alone can mean another user."""
    domain = env.get("USERDOMAIN") if os.name == "nt" else None
    return f"{domain}\\{_process_user()}" if domain else _process_user()


def _process_user() -> str:
    """Return the name of this process's user; the number of one whom the system does not know by name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises another error than those before
        return str(os.getuid())


def choose_suffix(instance: Instance, *, system: bool) -> str:
    """Return the suffix for names of the service of this config; empty for the config at its default path.

    It follows from the path as it is given, so that a link in it may get another target. Version 0.1.0 made it
    from the target: a unit that has such a name keeps it.
    """
    if system and find_packaged(instance) is not None:
        return ""
    usual = {name: value for name, value in instance.env.items() if not name.startswith("MOONGATE_")}
    default = str(paths.config_file(usual))
    suffix = _name_suffix(str(instance.config), default)
    older = _name_suffix(os.path.realpath(instance.config), os.path.realpath(default))
    if older != suffix and sys.platform in MANAGER_CLASSES:
        present = [one for one in (suffix, older) if _make_manager(instance, one, system=system).is_present]
        return present[0] if present else suffix
    return suffix


def _name_suffix(config_file: str, default: str) -> str:
    return "" if config_file == default else hashlib.sha256(os.fsencode(config_file)).hexdigest()[:8]


def _was_started_by_manager(instance: Instance) -> bool:
    """Return whether a service manager started the running gateway."""
    import psutil  # late: only needed if the manager cannot be reached

    found = instance.lock_record
    try:
        return found is not None and found.is_alive and read_marker(psutil.Process(found.pid).environ()) is not None
    except psutil.Error:
        return True
