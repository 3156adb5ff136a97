"""Processes that agents leave behind, and which of them a gateway may end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.process import identity, orphans
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


def test_only_what_a_gateway_that_is_gone_left_is_ended_and_at_last_what_is_ones_own() -> None:
    mine = orphans.make_mark()
    marks = {"mine": mine, "abandoned": a_mark_of_a_gateway_that_is_gone(), "odd": "x", "none": ""}
    sleepers = {
        name: subprocess.Popen(["sleep", "600"], env=os.environ | {orphans.MARK_VARIABLE: mark})
        for name, mark in marks.items()
    }
    try:
        orphans.end_abandoned()
        assert sleepers["abandoned"].wait(PATIENCE) == -signal.SIGKILL
        assert [name for name, sleeper in sleepers.items() if sleeper.poll() is None] == ["mine", "odd", "none"]

        orphans.end_marked(mine)
        assert sleepers["mine"].wait(PATIENCE) == -signal.SIGKILL
        assert [name for name, sleeper in sleepers.items() if sleeper.poll() is None] == ["odd", "none"]
    finally:
        for sleeper in sleepers.values():
            sleeper.kill()
            sleeper.wait()


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


_ORPHAN = """
import subprocess
print(subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL).pid)
"""


@pytest.fixture
def sleeper() -> Identity:
    """A process in its own group, which init reaps like an orphan."""
    started = subprocess.run(
        [sys.executable, "-c", _ORPHAN],
        stdout=subprocess.PIPE,
        check=True,
    )
    who = identity.identify_process(int(started.stdout))
    assert who
    return who


def test_a_recorded_group_is_ended(sleeper: Identity) -> None:
    assert orphans.kill_group(sleeper, wait=PATIENCE)

    assert not identity.is_alive(sleeper)


def test_a_process_with_a_recycled_pid_is_not_touched(sleeper: Identity) -> None:
    assert not orphans.kill_group(sleeper._replace(started="1"))

    assert identity.is_alive(sleeper)
    os.killpg(sleeper.pid, signal.SIGKILL)


def test_a_process_of_an_earlier_boot_is_not_touched(sleeper: Identity) -> None:
    assert not orphans.kill_group(sleeper._replace(boot="another"))

    assert identity.is_alive(sleeper)
    os.killpg(sleeper.pid, signal.SIGKILL)


def test_a_group_whose_leader_is_gone_is_ended() -> None:
    script = "sleep 600 & echo $!"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as leader:
        who = Identity(leader.pid, identity.read_start_time(leader.pid) or "1", identity.read_boot_id())
        assert leader.stdout is not None
        member = identity.identify_process(int(leader.stdout.readline()))
    assert member
    assert identity.is_alive(member)

    assert orphans.kill_group(who, wait=PATIENCE)

    assert not identity.is_alive(member)


def test_a_group_that_has_ended_needs_no_signal() -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as gone:
        who = identity.identify_process(gone.pid)
        gone.kill()
    assert who

    assert not orphans.kill_group(who)
