"""The config on its way to a generation: the bytes that were read, for one process only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from gateway import config_handover
from gateway.config import ConfigSources
from gateway.config_handover import CONFIG_DESCRIPTOR_VARIABLE

#: more than a pipe holds, and not valid in any encoding
SOURCES = ConfigSources(b"\xff\x00{" * 100_000, {"NAME": "väl\nue", "EMPTY": ""})


@pytest.fixture(params=["memfd", "file"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)


@pytest.mark.parametrize("sources", [SOURCES, ConfigSources(None)])
@pytest.mark.usefixtures("way")
def test_it_arrives_whole_and_leaves_nothing_to_inherit(sources: ConfigSources) -> None:
    with config_handover.open_handover(sources) as descriptor:
        env = {CONFIG_DESCRIPTOR_VARIABLE: str(os.dup(descriptor)), "OTHER": "1"}
        taken = int(env[CONFIG_DESCRIPTOR_VARIABLE])

        found = config_handover.take_sources(env)

    assert found == sources
    assert env == {"OTHER": "1"}
    for closed in (taken, descriptor):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(closed)


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are not inherited there")
@pytest.mark.usefixtures("way")
def test_only_a_child_that_is_given_it_inherits_it() -> None:
    code = (
        "import os\nfrom gateway import config_handover\nfound = config_handover.take_sources(os.environ)\n"
        f"print(found.dotenv, {CONFIG_DESCRIPTOR_VARIABLE!r} in os.environ)"
    )
    with config_handover.open_handover(SOURCES) as descriptor:
        assert not os.get_inheritable(descriptor)
        assert os.fstat(descriptor).st_nlink == 0
        env = {**os.environ, CONFIG_DESCRIPTOR_VARIABLE: str(descriptor)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, pass_fds=[descriptor], capture_output=True, text=True, check=True
        )

    assert done.stdout == f"{SOURCES.dotenv} False\n"


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are not sent there")
@pytest.mark.parametrize("sources", [SOURCES, ConfigSources(None)])
@pytest.mark.usefixtures("way")
def test_a_process_that_waits_gets_the_socket_the_environment_and_the_config(sources: ConfigSources) -> None:
    env = {"NAME": "a=b\nc", "EMPTY": "", "BYTES": os.fsdecode(b"\xff"), "LONG": "x" * 300_000}
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config_handover.send_start(ours, listener, env, sources)
        ours.send(b"{}\n")  # what comes later stays in the channel

        found = config_handover.receive_start(theirs)

        assert found is not None
        assert (found.env, found.sources) == (env, sources)
        assert found.listener.getsockname() == listener.getsockname()
        assert not found.listener.get_inheritable()
        assert theirs.recv(10) == b"{}\n"
        found.listener.close()


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are not sent there")
def test_a_process_that_waits_gets_nothing_from_a_supervisor_that_has_ended() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        assert config_handover.receive_start(theirs) is None


def test_an_older_supervisor_hands_over_nothing() -> None:
    assert config_handover.take_sources({}) is None
