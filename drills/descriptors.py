"""No descriptor is left: open connections are served, new ones wait, and all work again later."""

from __future__ import annotations

import http.client
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from drills import Figures, Impossible, client
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE

#: number of connections, and number of descriptors that are left for them
CONNECTIONS, LEFT = 60, 8
#: bytes that such a time may add to the log
LOG = 100_000


def none_left(directory: Path, seconds: float = 2.0) -> Figures:
    """Use up the descriptors of the serving process with connections, then those of its supervisor.

    Args:
        seconds: how long the connections stay.
    """
    if sys.platform != "linux":
        raise Impossible("another process's limits can be set on Linux only")
    live = Live(directory / "home")
    try:
        live.start()
        figures = _none_to_serve(live, seconds)
        _none_to_restart(live)
        assert live.log.stat().st_size < LOG
        run = client.accepted(live, "after")
        assert client.wait_for(live, run, "succeeded", "failed")["status"] == "succeeded"
        assert live.stop() == 0
    finally:
        live.close()
    return figures


def _none_to_serve(live: Live, seconds: float) -> Figures:
    serving = psutil.Process(live.generation.pid)
    known = http.client.HTTPConnection("127.0.0.1", live.port, timeout=PATIENCE)
    assert _alive(known)
    with _limited(serving.pid, serving.num_fds() + LEFT), ExitStack() as open_:
        for _ in range(CONNECTIONS):
            open_.enter_context(socket.create_connection(("127.0.0.1", live.port)))
        client.until(lambda: live.logged("library.asyncio"), "it notices")
        before = sum(serving.cpu_times()[:2])
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            assert _alive(known), "an open connection is not served"
            time.sleep(0.1)
        busy = sum(serving.cpu_times()[:2]) - before
    known.close()
    began = time.monotonic()
    assert live.call("GET", "/livez").status == 200
    return {
        "connections": CONNECTIONS,
        "descriptors": LEFT,
        "busy meanwhile, %": round(100 * busy / seconds),
        "answers again after s": round(time.monotonic() - began, 2),
    }


def _none_to_restart(live: Live) -> None:
    """Check that a supervisor without descriptors keeps its serving process, and reports why."""
    supervisor = psutil.Process(live.process.pid if live.process is not None else 0)
    shell = Shell(live.env, live.home)
    generation = live.health["generation"]
    with _limited(supervisor.pid, supervisor.num_fds()):
        refused = shell("restart")
    assert refused.code == 1, refused
    assert "Too many open files" in refused.err, refused.err
    assert live.health["generation"] == generation
    assert shell("restart").code == 0


def _alive(connection: http.client.HTTPConnection) -> bool:
    connection.request("GET", "/livez")
    answer = connection.getresponse()
    answer.read()
    return answer.status == 200


@contextmanager
def _limited(pid: int, count: int) -> Iterator[None]:
    """Limit the descriptors of a process while the block runs."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
