"""Directories for files that programs unpack: one per program, removed with it, and cleared after a crash."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gateway.errors import AgentError
from gateway.process import identity
from gateway.process.child import Children
from gateway.process.scratch import ScratchSpace
from tests.support.ledger import MemoryLedger


def test_only_directories_of_dead_processes_are_cleared(tmp_path: Path) -> None:
    me = identity.own_identity()
    ours = Path(ScratchSpace(tmp_path, "x-").make_directory())
    (tmp_path / f"x-999999999_{me.started}_{me.boot}_abc" / "deep").mkdir(parents=True)
    (tmp_path / f"x-{me.pid}_{me.started}_another-boot_abc").mkdir()
    dead = f"999999999_{me.started}_{me.boot}_abc"
    foreign = {"somebody-elses", "x-odd", f"y-{dead}", dead}
    for other in foreign:
        (tmp_path / other).mkdir()

    ScratchSpace(tmp_path, "x-").clear_abandoned()

    assert set(os.listdir(tmp_path)) == {ours.name, *foreign}


def test_a_missing_place_has_nothing_to_clear(tmp_path: Path) -> None:
    ScratchSpace(tmp_path / "nowhere").clear_abandoned()


@pytest.mark.skipif(sys.platform == "win32", reason="the programs here are POSIX shell scripts")
class TestOfAChild:
    async def test_each_child_has_its_own_directory_which_is_removed_with_it(self, tmp_path: Path) -> None:
        children = Children(MemoryLedger(), os.environ, ScratchSpace(tmp_path))
        script = 'echo library > "$BUN_TMPDIR/lib.so"; echo "$BUN_TMPDIR"; cat "$BUN_TMPDIR/lib.so"; read line'
        two = [await children.spawn_child(["sh", "-c", script], cwd="/", env=dict(os.environ)) for _ in range(2)]
        told = [(await child.stdout.readline(), await child.stdout.readline()) for child in two]

        assert {said for _, said in told} == {b"library\n"}
        assert {os.fsdecode(place.strip()) for place, _ in told} == {str(each) for each in tmp_path.iterdir()}

        for child in two:
            await child.stop_group()

        assert not list(tmp_path.iterdir())

    async def test_the_first_child_clears_old_directories(self, tmp_path: Path) -> None:
        left = tmp_path / "999999999_1_boot_abc"
        left.mkdir()
        children = Children(MemoryLedger(), os.environ, ScratchSpace(tmp_path))

        await (await children.spawn_child(["true"], cwd="/", env=dict(os.environ))).wait_ended()

        assert not left.exists()

    async def test_a_program_that_cannot_start_leaves_no_directory(self, tmp_path: Path) -> None:
        children = Children(MemoryLedger(), os.environ, ScratchSpace(tmp_path))

        with pytest.raises(AgentError, match="cannot start"):
            await children.spawn_child(["echo", "nul \0 inside"], cwd="/", env=dict(os.environ))

        assert not list(tmp_path.iterdir())

    async def test_an_agent_may_choose_where_its_program_unpacks(self, tmp_path: Path) -> None:
        children = Children(MemoryLedger(), os.environ, ScratchSpace(tmp_path))
        env = {**os.environ, "BUN_TMPDIR": "/elsewhere"}

        child = await children.spawn_child(["sh", "-c", 'echo "$BUN_TMPDIR"'], cwd="/", env=env)

        assert await child.stdout.read() == b"/elsewhere\n"
        await child.wait_ended()

    async def test_a_program_starts_even_without_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        children = Children(MemoryLedger(), os.environ, ScratchSpace(tmp_path / "file"))

        assert await (await children.spawn_child(["true"], cwd="/", env=dict(os.environ))).wait_ended() == 0
