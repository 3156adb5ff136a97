"""Hosts in a network of their own: a namespace with a bridge, and one namespace with an address for each host.

Namespaces are kept by processes only, so that the kernel removes all of it when they end, also after a kill -9.
https://man7.org/linux/man-pages/man7/network_namespaces.7.html
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from harness.waiting import PATIENCE, until_sync

#: https://man7.org/linux/man-pages/man2/unshare.2.html
CLONE_NEWNET = 0x40000000
#: the address of the bridge, where the drill and the database are; the hosts have the addresses after it
HUB_ADDRESS = "10.77.0.1"
_PROGRAMS = ("ip", "nsenter", "unshare", "setpriv")


class Host:
    """A namespace with one address, linked with the bridge."""

    def __init__(self, number: int) -> None:
        self.address = f"10.77.0.{number + 2}"
        self._link = f"host{number}"
        # Its end ends the namespace; setpriv ends it with the drill.
        self._holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
        until_sync(self._has_own_namespace, "there is a namespace")
        inside = f"inside{number}"
        _ip("link", "add", self._link, "type", "veth", "peer", "name", inside)
        _ip("link", "set", inside, "netns", str(self._holder.pid))
        _ip("link", "set", self._link, "master", "hub", "up")
        self._run("ip", "address", "add", f"{self.address}/24", "dev", inside)
        self._run("ip", "link", "set", inside, "up")
        self._run("ip", "link", "set", "lo", "up")

    @property
    def prefix(self) -> list[str]:
        """Begins a command that runs on this host."""
        return ["nsenter", "--net", "--target", str(self._holder.pid), "--"]

    def cut(self) -> None:
        """Take its cable out."""
        _ip("link", "set", self._link, "down")

    def mend(self) -> None:
        """Put its cable in again."""
        _ip("link", "set", self._link, "up")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait(PATIENCE)

    def _has_own_namespace(self) -> bool:
        return os.readlink(f"/proc/{self._holder.pid}/ns/net") != os.readlink("/proc/self/ns/net")

    def _run(self, *command: str) -> None:
        subprocess.run([*self.prefix, *command], check=True, timeout=PATIENCE)


def explain_impossible() -> str | None:
    """Return why there can be no such network here; None if there can.

    Raises:
        AssertionError: `MOONGATE_TEST_ALL` is set, and a program is missing.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        assert not os.environ.get("MOONGATE_TEST_ALL"), f"all tests must run, but {missing[0]} is not installed"
        return f"network namespaces need {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True, text=True, timeout=PATIENCE)
    return None if tried.returncode == 0 else f"no network namespaces: {tried.stderr.strip()}"


@contextlib.contextmanager
def private_network() -> Iterator[str]:
    """Let this thread, and all that it starts, be in a namespace of its own with the bridge `hub`, until the end.

    Yields:
        the address of the bridge.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    with open("/proc/thread-self/ns/net") as before:
        check(libc.unshare(CLONE_NEWNET))
        try:
            _ip("link", "set", "lo", "up")
            _ip("link", "add", "hub", "type", "bridge")
            _ip("address", "add", f"{HUB_ADDRESS}/24", "dev", "hub")
            _ip("link", "set", "hub", "up")
            yield HUB_ADDRESS
        finally:
            check(libc.setns(before.fileno(), CLONE_NEWNET))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=PATIENCE)
