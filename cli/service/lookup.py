"""Finds the service of a gateway: which manager looks after it here, whether it is installed, and who owns it."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import importlib
import os
import sys
from collections.abc import Mapping

from cli.instance import Place
from cli.service import managers
from cli.service.manager import Manager, Site
from cli.service.manager_command import Run, run_command
from gateway import paths
from gateway.errors import Forbidden, NotRunning, Unavailable
from gateway.supervisor.marker import MARKER

#: the module and class that look after services, by platform
MANAGERS = {"linux": "systemd.Systemd", "darwin": "launchd.Launchd", "win32": "taskscheduler.TaskScheduler"}


def find_manager(instance: Place, *, system: bool = False, run: Run = run_command) -> Manager:
    """Return what looks after services on this platform.

    Raises:
        Unavailable: nothing does that is known here.
    """
    known = MANAGERS.get(sys.platform)
    if known is None:
        raise Unavailable(f"there is no login service for {sys.platform} yet.", remedy="Start it: gateway start")
    module, _, name = known.partition(".")
    user = user_name(instance, system=system)
    site = Site(name_suffix(instance), system, user, str(paths.logs(instance.home) / "service.log"), instance.env)
    made: Manager = getattr(importlib.import_module(f"{managers.__name__}.{module}"), name)(site, run)
    return made


def installed(instance: Place) -> Manager | None:
    """Return the manager of the service that is installed for a gateway: of the user, or of the system."""
    for system in (False, True):
        with contextlib.suppress(Unavailable):
            found = find_manager(instance, system=system)
            if found.present:
                return found
    return None


def need(instance: Place) -> Manager:
    """Return the manager of the service that is installed.

    Raises:
        NotRunning: none is.
    """
    found = installed(instance)
    if found is None:
        raise NotRunning("no service is installed.", remedy="Install it: gateway install")
    return found


def owner(instance: Place) -> Manager | None:
    """Return the manager that looks after the gateway just now, or would start it again; None if none does.

    Raises:
        Unavailable: one does, and cannot be talked to from here.
    """
    found = installed(instance)
    if found is None:
        return None
    try:
        found.require()
        return found if found.status().running else None
    except Unavailable:
        if _marked(instance):
            raise
        return None


def system_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which to look for the gateway of the user that a system's service runs as."""
    if os.name != "posix":
        return dict(env)
    import pwd  # late: not on Windows, where nothing is installed for the whole system

    return {**env, "HOME": pwd.getpwnam(_user(env)).pw_dir}


def need_root(command: str) -> None:
    """Refuse to change what is the whole system's without the right to.

    Raises:
        Forbidden: this user is not root.
    """
    if os.name == "posix" and os.geteuid() != 0:
        raise Forbidden(
            "a service of the whole system is root's to change.",
            remedy=f'Say: sudo "$(command -v gateway)" {command} --system',
        )


def user_name(instance: Place, *, system: bool) -> str:
    """Return the name of the user that a service runs as."""
    return _user(instance.env) if system else _login(instance.env)


def _user(env: Mapping[str, str]) -> str:
    return env.get("SUDO_USER") or getpass.getuser()


def _login(env: Mapping[str, str]) -> str:
    """Return this user's name; on Windows with the domain, without which it may be another's."""
    domain = env.get("USERDOMAIN") if os.name == "nt" else None
    return f"{domain}\\{getpass.getuser()}" if domain else getpass.getuser()


def name_suffix(instance: Place) -> str:
    """Return what tells this config's service from others; nothing for the one in its usual place."""
    usual = {name: value for name, value in instance.env.items() if not name.startswith("MOONGATE_")}
    resolved = instance.config.resolve()
    if resolved == paths.config(usual).resolve():
        return ""
    return hashlib.sha256(os.fsencode(resolved)).hexdigest()[:8]


def _marked(instance: Place) -> bool:
    """Tell whether the gateway that runs was started by a service manager."""
    import psutil  # late: only where the manager is out of reach

    found = instance.record
    try:
        return found is not None and found.alive and MARKER in psutil.Process(found.pid).environ()
    except psutil.Error:
        return True
