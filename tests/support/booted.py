"""A whole Debian system that is booted for a test: this machine's files below an overlay, and real systemd."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path

import psutil
import pytest

from harness.command_line import Result
from harness.waiting import PATIENCE

SCRIPT = Path(__file__).parent / "booted_root.sh"
#: seconds that a command in the system may take
COMMAND_SECONDS = 200.0
#: makes an overlay and a cgroup, which a booted system needs
_TRIAL = (
    "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r /mnt/c"
    " && mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"
    " && mount -t cgroup2 cgroup2 /mnt/c && mkdir /mnt/c/moongate-trial.$$ && rmdir /mnt/c/moongate-trial.$$"
)


@cache
def missing() -> str | None:
    """Return why no system can be booted here; None if one can.

    Raises:
        AssertionError: `MOONGATE_TEST_ALL` is set, and a program is missing.
    """
    if sys.platform != "linux" or os.getuid() != 0 or shutil.which("dpkg") is None:
        return "only root on Debian or Ubuntu can boot a system of its own"
    absent = [name for name in ("systemd-nspawn", "unshare", "nsenter") if shutil.which(name) is None]
    if absent:
        assert not os.environ.get("MOONGATE_TEST_ALL"), f"all tests must run, but {absent[0]} is not installed"
        return f"{absent[0]} is not installed: install systemd-container and util-linux"
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", _TRIAL], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"cannot mount an overlay or a cgroup here: {tried.stderr.strip()}"


class BootedSystem:
    """A system from its boot to its end. Its files are this machine's until it changes them.

    Args:
        shared: directory that it sees at /mnt/shared, read-only.
    """

    def __init__(self, shared: Path) -> None:
        if (why := missing()) is not None:
            pytest.skip(why)
        self._process = subprocess.Popen(
            ["bash", str(SCRIPT), str(shared)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the system did not boot"
        nspawn = next(
            child
            for child in psutil.Process(self._process.pid).children(recursive=True)
            if child.name() == "systemd-nspawn"
        )
        self._inside = next(child.pid for child in nspawn.children() if child.name() == "systemd")
        self._written = Path(f"/proc/{nspawn.ppid()}/root/mnt/upper")
        self.root = Path(f"/proc/{self._inside}/root")

    def close(self) -> None:
        """Switch it off: all its processes end, and all that it has written is gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def list_changes(self) -> dict[str, str]:
        """Return the paths that only it has, as `new`, and those of this machine that it has `deleted` or `replaced`.

        Only what it has written itself counts: the machine's own files change while it runs.
        """
        changes = {}
        for directory, directories, files in os.walk(self._written):
            for name in (*directories, *files):
                path = Path(directory, name)
                at = Path("/", path.relative_to(self._written))
                with contextlib.suppress(FileNotFoundError):  # it is gone again
                    if stat.S_ISCHR(path.lstat().st_mode):  # how an overlay keeps a deletion
                        changes[str(at)] = "deleted"
                    elif not os.path.lexists(at):
                        changes[str(at)] = "new"
                    elif "trusted.overlay.opaque" in os.listxattr(path, follow_symlinks=False):
                        changes[str(at)] = "replaced"  # a directory that was deleted and made again
        return changes

    def run(self, command: str) -> Result:
        """Run a shell command in the system, as root, until it ends."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._inside), "--all", "--root", "--wd", "sh", "-c", command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def do(self, command: str) -> str:
        """Run a shell command that must succeed; return what it prints."""
        done = self.run(command)
        assert done.code == 0, f"{command}: {done.out}{done.err}"
        return done.out
