"""Imports all modules as a system without POSIX would: `python -m tests.support.without_posix win32` (or `darwin`).

The names that such a system lacks are taken out of the standard library first. This shows names that are needed
at import time; what functions do there is not tested. Prints the modules that cannot be imported.
"""

from __future__ import annotations

import importlib
import importlib.abc
import os
import pkgutil
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

PACKAGES = ("gateway", "cli", "service_templates")
#: libraries that choose their own parts by the platform: loaded as they are here
_LIBRARIES = """
    asyncio ctypes concurrent.futures.process email faulthandler getpass http.server importlib.resources
    logging.handlers mimetypes multiprocessing.util pathlib platform selectors shutil ssl subprocess sysconfig
    tempfile threading urllib.request uuid webbrowser zoneinfo
    acp aiohttp aiohttp.web apsw click cronsim dotenv filelock mcp msgspec prometheus_client psutil rich.console
    rich.live rich.markdown rich.progress rich.table structlog
""".split()
_MODULES = {
    "win32": "fcntl grp pty pwd readline resource syslog termios tty".split(),
    "darwin": [],
}
_NAMES: dict[str, dict[ModuleType, list[str]]] = {
    "win32": {
        os: """
            O_CLOEXEC O_DIRECTORY O_DSYNC O_NOFOLLOW O_NONBLOCK O_SYNC WNOHANG chown confstr ctermid eventfd fchmod
            fchown fdatasync fork forkpty fstatvfs getegid geteuid getgid getgroups getloadavg getpgid getpgrp
            getpriority getuid killpg lchown memfd_create mkfifo mknod nice openpty pidfd_open posix_fallocate
            posix_spawn pread pwrite readv register_at_fork sched_getaffinity sched_setaffinity sendfile setgid setpgid
            setpriority setsid setuid statvfs sync sysconf uname wait3 wait4 waitid
        """.split(),
        signal: """
            SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGUSR1 SIGUSR2
            SIGWINCH SIG_BLOCK SIG_SETMASK SIG_UNBLOCK alarm pidfd_send_signal pthread_kill pthread_sigmask setitimer
            siginterrupt sigpending sigtimedwait sigwait sigwaitinfo
        """.split(),
        socket: "AF_UNIX CMSG_LEN SCM_RIGHTS SO_REUSEPORT recv_fds send_fds sethostname".split(),
    },
    "darwin": {
        os: "eventfd fdatasync memfd_create pidfd_open posix_fallocate sched_getaffinity sched_setaffinity".split(),
        signal: "SIGPOLL SIGPWR SIGRTMAX SIGRTMIN pidfd_send_signal sigtimedwait sigwaitinfo".split(),
        socket: "AF_NETLINK AF_VSOCK SO_DOMAIN SO_PEERCRED SO_PROTOCOL".split(),
    },
}


class HiddenModules(importlib.abc.MetaPathFinder):
    """Finds nothing for modules that the platform lacks."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if fullname in self._names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def pretend_platform(platform: str) -> None:
    """Take away what the platform lacks, and let `sys.platform` name it."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    for name in _MODULES[platform]:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, HiddenModules(_MODULES[platform]))
    for module, names in _NAMES[platform].items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = platform


def import_all() -> tuple[int, list[str]]:
    """Return how many modules there are, and which cannot be imported, with the reason."""
    count, failed = 0, []
    for package in PACKAGES:
        place = importlib.import_module(package).__path__
        for found in pkgutil.walk_packages(place, f"{package}.", onerror=failed.append):
            count += 1
            try:
                importlib.import_module(found.name)
            except BaseException as error:
                at = traceback.extract_tb(error.__traceback__)[-1]
                failed.append(f"{found.name}: {type(error).__name__}: {error} ({at.filename}:{at.lineno})")
    return count, failed


def main(platform: str) -> int:
    pretend_platform(platform)
    count, failed = import_all()
    print(*failed, f"{count} modules", sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
