"""Agent processes: what they inherit, when they start, and that none is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import AgentError, ConfigError, Exhausted
from gateway.process import child as process_child
from gateway.process import identity, orphans
from gateway.process.child import (
    OUTPUT_BUFFER_BYTES,
    STDERR_TAIL_BYTES,
    Child,
    Children,
    child_environment,
    read_lines,
)
from gateway.process.identity import Identity
from harness.waiting import PATIENCE, until
from tests.support.ledger import MemoryLedger

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")

ROOT = Path(__file__).parents[2]
#: prints its PID and that of a grandchild; both ignore SIGTERM
STUBBORN = "trap '' TERM; sh -c 'echo $$; exec sleep 600' & echo $$; wait"


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
async def children(ledger: MemoryLedger) -> AsyncIterator[Children]:
    yield Children(ledger, {"PATH": os.environ["PATH"], "HOME": "/home/someone", "SECRET": "s3cret"})
    assert not ledger.recorded, "every child leaves the ledger when it has ended"


async def spawn(children: Children, *argv: str, run: str | None = None) -> Child:
    return await children.spawn_child(argv, cwd="/", env=children.make_environment({}), run=run)


async def shell(children: Children, script: str) -> Child:
    return await spawn(children, "sh", "-c", script)


async def output(child: Child) -> bytes:
    child.close_stdin()
    said = await child.stdout.read()
    await child.wait_ended()
    return said


# --- environment ------------------------------------------------------------------------------


def test_a_child_inherits_only_harmless_variables() -> None:
    given = {"PATH": "/bin", "LC_TIME": "C", "XDG_DATA_HOME": "/d", "OPENAI_API_KEY": "k", "MOONGATE_TOKEN": "t"}

    passed = child_environment(given, {})

    assert passed == {"PATH": "/bin", "LC_TIME": "C", "XDG_DATA_HOME": "/d"}


def test_an_agents_own_variables_are_added_and_win() -> None:
    passed = child_environment({"PATH": "/bin", "HOME": "/root"}, {"HOME": "/home/a", "OPENAI_API_KEY": "own"})

    assert passed == {"PATH": "/bin", "HOME": "/home/a", "OPENAI_API_KEY": "own"}


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "NODE_OPTIONS", "BASH_ENV", "ENV", "MOONGATE_TOKEN"]
)
def test_variables_that_load_code_into_a_child_are_neither_inherited_nor_accepted(name: str) -> None:
    assert child_environment({name: "x"}, {}) == {}
    with pytest.raises(ConfigError, match=name):
        child_environment({}, {name: "x"})


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")])
def test_names_and_values_that_no_environment_can_hold_are_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError):
        child_environment({}, {name: value})


async def test_a_child_sees_no_secret_of_the_gateway(children: Children) -> None:
    said = await output(await spawn(children, "env"))

    assert b"HOME=/home/someone" in said
    assert b"s3cret" not in said


async def test_a_child_gets_the_depth_of_its_run(children: Children) -> None:
    child = await children.spawn_child(
        ["sh", "-c", 'echo "$MOONGATE_DEPTH"'], cwd="/", env=children.make_environment({}, depth=3)
    )

    assert await output(child) == b"3\n"


async def test_a_child_gets_its_directory(children: Children, tmp_path: Path) -> None:
    child = await children.spawn_child(
        ["sh", "-c", 'echo "$PWD"; pwd'], cwd=str(tmp_path), env=children.make_environment({})
    )

    assert (await output(child)).decode().split() == [str(tmp_path), str(tmp_path)]


# --- starting ---------------------------------------------------------------------------------


async def test_only_so_many_homes_are_remembered_and_no_lock_is(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_child, "MAX_SETTLED_HOMES", 3)
    for number in range(5):
        async with children.first_start("agent", {"HOME": f"/home/{number}"}) as is_first:
            assert is_first
    with pytest.raises(OSError, match="no luck"):
        async with children.first_start("agent", {"HOME": "/home/broken"}):
            raise OSError("no luck")
    async with children.first_start("agent", {"HOME": "/home/4"}) as is_first:
        assert not is_first

    assert [home for _, home, _ in children._settled] == ["/home/2", "/home/3", "/home/4"]
    assert not children._first


async def test_a_missing_program_is_named(children: Children) -> None:
    with pytest.raises(AgentError, match="no-such-agent"):
        await spawn(children, "no-such-agent")


async def test_a_program_is_looked_up_on_the_childs_own_path(children: Children, tmp_path: Path) -> None:
    program = tmp_path / "greet"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)

    child = await children.spawn_child(["greet"], cwd="/", env={"PATH": f"{tmp_path}:/bin:/usr/bin"})

    assert await output(child) == b"hello\n"


async def test_a_relative_program_is_looked_up_in_the_childs_directory(children: Children, tmp_path: Path) -> None:
    program = tmp_path / "greet"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)

    child = await children.spawn_child(["./greet"], cwd=str(tmp_path), env=children.make_environment({}))

    assert await output(child) == b"hello\n"


@pytest.mark.parametrize("argument", ["nul \0 inside", "x" * 3_000_000])
async def test_an_argument_that_the_system_cannot_take_is_an_agent_error(children: Children, argument: str) -> None:
    with pytest.raises(AgentError, match="cannot start"):
        await spawn(children, "echo", argument)


async def test_without_descriptors_a_program_starts_only_later(children: Children) -> None:
    import resource  # late: Windows has none

    identity.own_identity()  # a gateway has read it by now
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(Exhausted, match="cannot start 'sh' now: Too many open files"):
            await shell(children, "echo hi")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert await output(await shell(children, "echo hi")) == b"hi\n"


async def test_arguments_reach_the_program_unchanged(children: Children) -> None:
    tricky = ["-n", "--help", "$(id)", "`id`", "a b", "", "'\"", "*", "é\n"]

    said = await output(await spawn(children, "printf", "%s\\0", *tricky))

    assert said.decode().split("\0")[:-1] == tricky


async def test_the_gate_takes_no_byte_of_the_programs_input(children: Children) -> None:
    child = await spawn(children, "cat")

    await child.write_stdin(b"\nfirst\nsecond")

    assert await output(child) == b"\nfirst\nsecond"


async def test_a_child_is_recorded_for_its_run_before_it_begins(children: Children, ledger: MemoryLedger) -> None:
    child = await spawn(children, "cat", run="run-1")

    assert ledger.recorded == {child.who: "run-1"}
    await child.stop_group()


async def test_a_program_does_not_begin_while_its_record_is_being_written(tmp_path: Path) -> None:
    written = asyncio.Event()

    class SlowLedger(MemoryLedger):
        async def record_process(self, who: Identity, run: str | None) -> None:
            await super().record_process(who, run)
            await written.wait()

    ledger = SlowLedger()
    children = Children(ledger, os.environ)
    starting = asyncio.create_task(shell(children, f"touch {tmp_path}/begun; echo begun"))
    await until(lambda: ledger.recorded, "the child waits at the gate")
    stood_at_gate = Path(f"/proc/{ledger.seen[0].pid}/cmdline").read_bytes() if sys.platform == "linux" else b"gate"
    begun_early = (tmp_path / "begun").exists()
    written.set()

    assert b"gate" in stood_at_gate
    assert not begun_early
    assert await output(await starting) == b"begun\n"


async def test_a_program_whose_record_fails_never_begins(tmp_path: Path) -> None:
    class FullLedger(MemoryLedger):
        async def record_process(self, who: Identity, run: str | None) -> None:
            await super().record_process(who, run)
            raise OSError("disk full")

    ledger = FullLedger()
    with pytest.raises(OSError, match="disk full"):
        await shell(Children(ledger, os.environ), f"touch {tmp_path}/begun")

    assert not ledger.alive()
    assert not (tmp_path / "begun").exists()


#: starts a child with a ledger that prints the process at the gate, and then never returns
_GATEWAY_THAT_STOPS_AT_THE_RECORD = """
import asyncio, os, sys
from gateway.process.child import Children

class Ledger:
    async def record_process(self, who, run):
        print(who, flush=True)
        await asyncio.Event().wait()
    async def forget_process(self, who): ...

asyncio.run(Children(Ledger(), os.environ).spawn_child(["touch", sys.argv[1]], cwd="/", env=dict(os.environ)))
"""


async def test_a_child_whose_gateway_is_killed_before_the_record_never_runs_its_program(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    script = [sys.executable, "-c", _GATEWAY_THAT_STOPS_AT_THE_RECORD, str(begun)]
    with subprocess.Popen(script, cwd=ROOT, stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        child = Identity.parse_identity(gateway.stdout.readline().strip())
        assert identity.is_alive(child)
        gateway.kill()

    await until(lambda: not identity.is_alive(child), "the child has left the gate")

    assert not begun.exists()


# --- ending -----------------------------------------------------------------------------------


async def test_what_it_writes_to_standard_error_is_passed_on_at_once(children: Children) -> None:
    """It waits for an answer before it ends, so the end cannot be what passes it on."""
    child = await shell(children, "read go; echo asks >&2; read answer; echo done >&2")
    passed_on = bytearray()
    asks = asyncio.Event()
    child.follow_stderr(lambda data: (passed_on.extend(data), asks.set())[0])
    await child.write_stdin(b"go\n")

    async with asyncio.timeout(PATIENCE):
        await asks.wait()
    assert passed_on == b"asks\n"

    child.follow_stderr(None)
    await child.write_stdin(b"answer\n")
    await child.wait_ended()
    assert (passed_on, child.stderr_tail()) == (b"asks\n", "asks\ndone")


async def test_the_status_and_the_end_of_stderr_are_known(children: Children) -> None:
    child = await shell(children, "head -c 100000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 3")

    assert await child.wait_ended() == 3
    assert child.stderr_tail().endswith("the end")
    assert len(child.stderr_tail()) <= STDERR_TAIL_BYTES


async def test_a_signal_is_a_negative_status(children: Children) -> None:
    child = await shell(children, "kill -9 $$")

    assert await child.wait_ended() == -signal.SIGKILL


async def test_stopping_ends_a_stubborn_child_and_its_grandchild(children: Children) -> None:
    child = await shell(children, STUBBORN)
    family = [identity.identify_process(int(await child.stdout.readline())) for _ in range(2)]
    assert None not in family

    async with asyncio.timeout(PATIENCE):
        await child.stop_group()

    assert child.returncode == -signal.SIGKILL
    await until(lambda: not any(who and identity.is_alive(who) for who in family), "the whole group is dead")


async def test_the_pipes_of_a_child_are_closed_though_a_grandchild_that_cannot_be_found_holds_them(
    children: Children,
) -> None:
    """It has left the group, and its environment has no mark."""
    program = (
        "import subprocess as s; print(s.Popen(['/bin/sleep', '600'], env={}, start_new_session=True).pid, flush=True);"
        "input()"
    )
    child = await spawn(children, sys.executable, "-c", program)
    grandchild = int(await child.stdout.readline())
    try:
        await child.stop_group()
        async with asyncio.timeout(PATIENCE):
            assert await child.stdout.read() == b""
        assert identity.identify_process(grandchild)
    finally:
        os.kill(grandchild, signal.SIGKILL)


async def test_a_grandchild_that_outlives_its_parent_is_ended(children: Children) -> None:
    child = await shell(children, "trap '' TERM; sh -c 'echo $$; exec sleep 600' & exit 0")
    grandchild = identity.identify_process(int(await child.stdout.readline()))
    assert grandchild

    async with asyncio.timeout(PATIENCE):
        assert await child.wait_ended() == 0

    await until(lambda: not identity.is_alive(grandchild), "the grandchild is dead")


@pytest.mark.parametrize(
    "how", ["start_new_session=True", "env={}"], ids=["it left the group", "it has another environment"]
)
async def test_a_grandchild_is_ended_with_the_child_and_does_not_delay_it(children: Children, how: str) -> None:
    program = f"import subprocess as s; print(s.Popen(['/bin/sleep', '600'], {how}).pid, flush=True); input()"
    child = await spawn(children, sys.executable, "-c", program)
    grandchild = identity.identify_process(int(await child.stdout.readline()))
    assert grandchild
    await child.write_stdin(b"\n")

    async with asyncio.timeout(PATIENCE):
        assert await child.wait_ended() == 0
        assert await child.stdout.read() == b""

    await until(lambda: not identity.is_alive(grandchild), "the grandchild is dead")


async def test_stopping_completes_when_its_caller_is_cancelled(children: Children) -> None:
    child = await shell(children, STUBBORN)
    await child.stdout.readline()
    stopping = asyncio.create_task(child.stop_group())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping

    async with asyncio.timeout(PATIENCE):
        assert await child.wait_ended() == -signal.SIGKILL


async def test_stopping_twice_is_harmless(children: Children) -> None:
    child = await spawn(children, "cat")

    await asyncio.gather(child.stop_group(), child.stop_group())
    await child.stop_group()

    assert child.returncode == -signal.SIGTERM


async def test_a_child_that_ended_long_ago_is_not_signalled(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await spawn(children, "true")
    await child.wait_ended()
    signalled: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda *call: signalled.append(call))

    await child.stop_group()

    assert signalled == []


# --- talking ----------------------------------------------------------------------------------


async def test_writing_to_a_child_that_does_not_read_is_no_error(children: Children) -> None:
    child = await spawn(children, "true")

    await child.write_stdin(b"x" * 1_000_000)
    child.close_stdin()

    assert await child.wait_ended() == 0


async def test_a_slow_reader_gets_everything_that_a_dead_child_wrote(children: Children) -> None:
    # One byte more than the buffer and one read take, so that some data stays in the pipe of 64 KiB.
    size = 2 * OUTPUT_BUFFER_BYTES + 64 * 1024 + 1
    child = await shell(children, f"head -c {size} /dev/zero")

    await child.wait_ended()

    assert len(await child.stdout.read()) == size


async def lines_of(children: Children, script: str, limit: int = 100_000) -> list[bytes]:
    child = await shell(children, script)
    try:
        return [line async for line in read_lines(child.stdout, limit)]
    finally:
        await child.stop_group()


async def test_lines_come_without_line_ends_and_the_last_may_lack_one(children: Children) -> None:
    assert await lines_of(children, r"printf 'a\n\n\377b\nlast'") == [b"a", b"", b"\xffb", b"last"]


async def test_no_output_has_no_line(children: Children) -> None:
    assert await lines_of(children, "exit 0") == []


async def test_lines_are_joined_from_any_pieces(children: Children) -> None:
    said = await lines_of(children, "head -c 90000 /dev/zero | tr '\\0' x; echo; echo after")

    assert said == [b"x" * 90_000, b"after"]


async def test_an_endless_line_is_an_error_before_it_fills_the_memory(children: Children) -> None:
    with pytest.raises(AgentError, match="a line of more than 97 KiB"):
        await lines_of(children, "head -c 10000000 /dev/zero")


async def test_what_a_dead_gateway_left_is_ended_before_a_child_starts(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced here, as each test that runs beside this one ends what is abandoned on the whole machine."""
    begun = tmp_path / "begun"
    found: list[bool] = []
    monkeypatch.setattr(orphans, "end_abandoned", lambda: found.append(begun.exists()))

    await output(await spawn(children, "touch", str(begun)))

    assert (found, begun.exists()) == ([False], True)
