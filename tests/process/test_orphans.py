"""Processes that agents leave behind, and which of them a gateway may end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.process import orphans
from gateway.process.identity import Identity, own_identity
from harness.waiting import PATIENCE


def a_mark_of_a_gateway_that_is_gone() -> str:
    gone = Identity.parse_identity(str(own_identity()))
    return f"{gone._replace(pid=2**22 - 7)}/0123456789abcdef"


@contextmanager
def marked(*before: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the mark of a gateway that is gone, started by a command before it."""
    mark = f"{orphans.MARK_VARIABLE}={a_mark_of_a_gateway_that_is_gone()}"
    waiting = ["env", mark, sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen([*before, *waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_what_a_gateway_that_is_gone_left_is_ended() -> None:
    with marked() as left:
        orphans.end_abandoned()

        assert left.wait(PATIENCE) == -9


@pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0, reason="only root can make a PID namespace everywhere"
)
def test_what_a_gateway_in_a_container_started_is_left_alone() -> None:
    """Its mark holds a number of its own namespace, which means nothing outside."""
    with marked("unshare", "--pid", "--fork", "--kill-child") as contained:
        orphans.end_abandoned()

        assert contained.stdin is not None
        contained.stdin.write(b"\n")
        contained.stdin.flush()
        assert contained.wait(PATIENCE) == 0
