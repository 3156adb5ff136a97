"""Binding is the only test of whether a port is free."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import ConfigError, PortTaken
from gateway.supervisor import port, terminate


def test_a_free_port_is_bound_and_not_inherited() -> None:
    with port.bind_port("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0
        assert not listener.get_inheritable()


def test_a_taken_port_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        number = holder.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            port.bind_port("127.0.0.1", number)

    assert str(caught.value).startswith(f"Port {number} is already in use. Use --force to kill existing process.")
    assert f"pid {os.getpid()}" in str(caught.value)
    assert caught.value.exit_code == 75


@pytest.mark.parametrize("host", ["a..b", "x" * 300, "no such host.invalid", "203.0.113.1", "\ud800"])
def test_a_host_that_is_not_of_this_machine_is_named(host: str) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.host"):
        port.bind_port(host, 0)


def test_ipv6_is_bound_with_or_without_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    for host in ("::1", "[::1]"):
        with port.bind_port(host, 0) as listener:
            assert listener.family is socket.AF_INET6


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process with the name of a service manager that keeps a port, as for a service that does not run."""
    program = tmp_path / "systemd"
    program.symlink_to(os.path.realpath(sys.executable))
    script = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    with subprocess.Popen(
        [program, "-I", "-c", f"{script}; sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the name of a process is that of its program")
def test_a_service_manager_that_keeps_a_port_is_named_as_one_and_never_killed(
    manager: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, number = manager

    with pytest.raises(PortTaken) as caught:
        terminate.take_port("127.0.0.1", number, tmp_path, kill_foreign=True)

    assert process.poll() is None
    assert f"Held by pid {process.pid} (systemd, user " in str(caught.value)
    assert "which keeps it for a service" in str(caught.value)
    assert "--force" not in str(caught.value)
