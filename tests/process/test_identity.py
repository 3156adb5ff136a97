"""The identity of a process: a PID alone may be recycled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.process import identity
from gateway.process.identity import Identity


def test_only_this_process_has_its_identity() -> None:
    me = identity.own_identity()

    assert identity.is_alive(me)
    assert not identity.is_alive(me._replace(started="1"))
    assert not identity.is_alive(me._replace(boot="another"))
    assert not identity.is_alive(me._replace(pid=2**22 + 1))


def test_an_identity_is_parsed_back() -> None:
    for who in (identity.own_identity(), Identity(1, "Sat Nov 21 05:00:00 2026", ""), Identity(1, "2", "a/b")):
        assert Identity.parse_identity(str(who)) == who
    with pytest.raises(ValueError, match="unpack"):
        Identity.parse_identity("1/2")


@pytest.mark.skipif(sys.platform == "win32", reason="zombies")
def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert identity.identify_process(child.pid) is None
    child.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_program_may_have_any_name(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.write_text("#!/bin/sh\nread line\n")
    program.chmod(0o755)
    child = subprocess.Popen([program], stdin=subprocess.PIPE)
    who = identity.identify_process(child.pid)

    assert who is not None
    assert identity.is_alive(who)
    child.communicate(b"\n")
    assert not identity.is_alive(who)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_a_descriptor_nobody_is_taken_for_gone() -> None:
    """A gateway that cannot look would otherwise end the agents of all others as abandoned."""
    resource = pytest.importorskip("resource")
    me = identity.own_identity()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            who = identity.identify_process(other.pid)
            assert who is not None
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            seen = identity.is_alive(who), identity.is_alive(me), identity.identify_process(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            other.kill()

    assert seen == (True, True, None)
    assert not identity.is_alive(who)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_of_another_user_that_is_hidden_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `hidepid=1`, /proc refuses the files of other users: the PID belongs to somebody else now."""
    me = identity.own_identity()

    def refuse(path: Path) -> bytes:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)

    assert not identity.is_alive(me)
    assert identity.identify_process(1) is None
