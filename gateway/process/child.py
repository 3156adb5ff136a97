"""Agent processes: every child has a process group, an owner on disk and a clean environment, and always ends.

A child does not start its program before its process is recorded: it waits at a gate, a shell that
reads one line and then executes the program. If this process dies in between, the gate closes. So a
program that runs is always in the ledger, and can be ended before its run is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import SubprocessStreamProtocol
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol, cast
from weakref import WeakValueDictionary

from gateway.errors import AgentError, ConfigError, Exhausted
from gateway.process import identity, orphans, scratch
from gateway.process.identity import Identity
from gateway.process.scratch import ScratchSpace
from gateway.process.terminal_text import clean_bytes

#: variables that a child inherits; a final `*` matches any ending
INHERITED_VARIABLES = (
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE LC_* TZ TMPDIR TEMP TMP XDG_* SSL_CERT_FILE "
    "SSL_CERT_DIR HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy "
    "SYSTEMROOT COMSPEC PATHEXT APPDATA LOCALAPPDATA USERPROFILE PROGRAMDATA PROGRAMFILES"
).split()

#: what says that there is no terminal, so that programs write plain text
NO_TERMINAL = {"TERM": "dumb", "NO_COLOR": "1"}
#: variables that would say that there is one
TERMINAL_VARIABLES = ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")

#: variables that could load foreign code into a child
REFUSED_VARIABLES = ("LD_*", "DYLD_*", "PYTHON*", "NODE_OPTIONS", "BASH_ENV", "ENV", "MOONGATE_*")

#: variable with the depth of a child's run; `gateway` and its MCP server pass it on
DEPTH_VARIABLE = "MOONGATE_DEPTH"

#: seconds from SIGTERM to SIGKILL
TERMINATE_GRACE_SECONDS = 1.0
#: seconds that the rest of a group may continue to write after its leader has ended
OUTPUT_LINGER_SECONDS = 1.0
#: bytes of a child's output that are buffered before the child must wait; asyncio buffers up to twice as many
OUTPUT_BUFFER_BYTES = 128 * 1024
#: capacity of the largest pipe, in bytes: see pipe(7)
MAX_PIPE_BYTES = 1024 * 1024
#: bytes kept from the end of a child's standard error
STDERR_TAIL_BYTES = 8 * 1024

#: variables that say where a program keeps its files
_HOME_VARIABLES = ("HOME", "XDG_DATA_HOME")
#: homes that are known to be set up; of one too many, the next start counts as its first
MAX_SETTLED_HOMES = 256

#: variable that says where a program built with Bun unpacks its libraries; not TMPDIR, because the
#: program's commands also store files there that they need later
_UNPACK_VARIABLE = "BUN_TMPDIR"

#: error numbers for "no resources for another process now", and the remedy if that lasts
_SCARCE_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
_SCARCE_REMEDY = "Raise the limits of the gateway (ulimit -n, -u), or lower limits.runs or its max_concurrent."

_GATE_SCRIPT = 'read -r gate && exec "$@"; exit 127'


class ProcessLedger(Protocol):
    """Records processes durably."""

    async def record_process(self, who: Identity, run: str | None) -> None: ...

    async def forget_process(self, who: Identity) -> None: ...


def _matches_any(name: str, patterns: Sequence[str]) -> bool:
    return any(name == p or (p.endswith("*") and name.startswith(p[:-1])) for p in patterns)


def may_be_set(name: str) -> bool:
    """Return whether a child may have a variable with this name: it must not load foreign code."""
    return bool(name) and "=" not in name and not _matches_any(name, REFUSED_VARIABLES)


def child_environment(given: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return a child's environment: the inherited variables from `given`, then the agent's `own`.

    Raises:
        ConfigError: `own` has a variable that could load foreign code into the child.
    """
    for name in own:
        if not may_be_set(name) or "\0" in name + own[name]:
            raise ConfigError(f"env: {name!r} cannot be passed to an agent.", remedy="Set it in a wrapper script.")
    passed = {name: value for name, value in given.items() if _matches_any(name, INHERITED_VARIABLES)}
    return passed | dict(own)


def find_program(name: str, env: Mapping[str, str], cwd: str) -> str:
    """Return the absolute path of a program, found through the PATH of the child's environment.

    Raises:
        AgentError: there is no such program.
    """
    candidate = os.path.join(cwd, name) if os.path.dirname(name) and not os.path.isabs(name) else name
    found = shutil.which(candidate, path=env.get("PATH", os.defpath))
    if found is None:
        raise AgentError(
            f"cannot start {name!r}: there is no such program on PATH.",
            remedy="Install it, or give its path.",
        )
    return os.path.abspath(found)


class _ExitProtocol(SubprocessStreamProtocol):
    """Reports the exit at once, even if a grandchild still holds the pipes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=OUTPUT_BUFFER_BYTES, loop=loop)
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()

    def process_exited(self) -> None:
        self.exited.set()
        super().process_exited()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self.silent.set()
        super().pipe_connection_lost(fd, exc)


class Child:
    """One agent process and its group. It ends by itself or by `stop_group`; either way, no process is left."""

    def __init__(
        self,
        transport: asyncio.SubprocessTransport,
        protocol: _ExitProtocol,
        ledger: ProcessLedger,
        *,
        room: str | None,
        mark: str,
    ) -> None:
        """Args: room: directory that is removed at its end. mark: processes with this mark are ended with it."""
        self._transport = transport
        self._protocol = protocol
        self._ledger = ledger
        self._room = room
        self._mark = mark
        self._stderr = bytearray()
        self._stderr_receiver: Callable[[bytes], None] | None = None
        assert protocol.stdin is not None
        assert protocol.stdout is not None
        self.stdin: asyncio.StreamWriter = protocol.stdin
        self.stdout: asyncio.StreamReader = protocol.stdout
        who = identity.identify_process(transport.get_pid())
        #: None if it ended before its identity could be read
        self.who: Identity | None = who
        self._drain = asyncio.create_task(self._drain_stderr(), name="child-stderr")
        self._end = asyncio.create_task(self._clean_up(), name="child-end")
        self._stopping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._transport.get_pid()

    @property
    def returncode(self) -> int | None:
        """The exit status; negative for a signal; None while it runs."""
        return self._transport.get_returncode()

    def stderr_tail(self) -> str:
        """Return the end of its standard error, as a terminal would show it."""
        return clean_bytes(bytes(self._stderr)).strip()

    def follow_stderr(self, receive: Callable[[bytes], None] | None) -> None:
        """Pass on what it writes to standard error from now on, at once; None passes nothing on."""
        self._stderr_receiver = receive

    async def wait_ended(self) -> int:
        """Wait until the process and its whole group have ended; return its exit status."""
        await asyncio.shield(self._end)
        return cast("int", self.returncode)

    async def write_stdin(self, data: bytes) -> None:
        """Write to its standard input; no error if the child has stopped reading."""
        with contextlib.suppress(ConnectionError):
            self.stdin.write(data)
            await self.stdin.drain()

    def close_stdin(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            self.stdin.close()

    async def stop_group(self) -> None:
        """End the whole group: SIGTERM first, then SIGKILL; return within about two seconds.

        The stop completes even if the caller is cancelled. A second call is harmless.
        """
        if self._end.done():  # perhaps long ago: another group may have its number now
            return
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._terminate_group(), name="child-stop")
        await asyncio.shield(self._stopping)

    async def _terminate_group(self) -> None:
        if not self._protocol.exited.is_set():
            _signal_group(self.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TERMINATE_GRACE_SECONDS):
                    await self._protocol.exited.wait()
        _signal_group(self.pid, _GROUP_KILL_SIGNAL)
        # Nobody reads the output now: do not wait for it.
        self._protocol.silent.set()
        self._drain.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERMINATE_GRACE_SECONDS + OUTPUT_LINGER_SECONDS):
                await asyncio.shield(self._end)

    async def _drain_stderr(self) -> None:
        stream = self._protocol.stderr
        assert stream is not None
        while data := await stream.read(OUTPUT_BUFFER_BYTES):
            self._stderr += data
            del self._stderr[:-STDERR_TAIL_BYTES]
            if self._stderr_receiver is not None:
                self._stderr_receiver(data)

    async def _clean_up(self) -> None:
        await self._protocol.exited.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTPUT_LINGER_SECONDS):
                await self._protocol.silent.wait()
                await asyncio.wait([self._drain])
        # The kernel reuses a group's number only after its last member has ended; it was ours a moment ago.
        _signal_group(self.pid, _GROUP_KILL_SIGNAL)
        self._drain.cancel()
        self._read_pipe_rest()
        self._transport.close()
        with contextlib.suppress(RuntimeError):  # the interpreter is ending: the next process cleans up
            await asyncio.to_thread(_clear_leftovers, self._room, self._mark)
        if self.who is not None:
            await self._ledger.forget_process(self.who)

    def _read_pipe_rest(self) -> None:
        """Read what the group left in the pipe: if the reader is slow, closing the pipe would lose it."""
        pipe = self._transport.get_pipe_transport(1)
        if sys.platform == "win32" or pipe is None or pipe.is_closing():
            return
        file = pipe.get_extra_info("pipe").fileno()
        with contextlib.suppress(BlockingIOError):
            for _ in range(MAX_PIPE_BYTES // OUTPUT_BUFFER_BYTES):
                self._protocol.pipe_data_received(1, os.read(file, OUTPUT_BUFFER_BYTES))


def _clear_leftovers(room: str | None, mark: str) -> None:
    orphans.end_marked(mark)
    if room is not None:
        scratch.clear_directory(room)


_GROUP_KILL_SIGNAL = getattr(signal, "SIGKILL", signal.SIGTERM)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False, timeout=5)
        else:
            os.killpg(pid, number)


class Children:
    """Starts agent processes, and records each, so that none is left behind."""

    def __init__(self, ledger: ProcessLedger, environ: Mapping[str, str], scratch: ScratchSpace | None = None) -> None:
        """Args: scratch: where programs unpack their files; None lets them choose."""
        self._ledger = ledger
        self._environ = dict(environ)
        self._scratch = scratch
        #: homes that a program has set up, and a lock for each home's first start
        self._settled: dict[tuple[str | None, ...], None] = {}
        self._first: WeakValueDictionary[tuple[str | None, ...], asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def first_start(self, program: str, env: Mapping[str, str]) -> AsyncIterator[bool]:
        """Let one program at a time set up its home; the caller starts it, and leaves the block when it is ready.

        Some programs fail when two do this at once: opencode migrates its database, and the second of two
        that start together fails. So until one is ready, others with the same home wait.

        Yields:
            Whether this is the first start.
        """
        home = (os.path.basename(program), *(env.get(name) for name in _HOME_VARIABLES))
        async with contextlib.AsyncExitStack() as alone:
            if home not in self._settled:
                await alone.enter_async_context(self._first.setdefault(home, asyncio.Lock()))
            if home in self._settled:
                await alone.aclose()
            yield home not in self._settled
            self._settled[home] = None
            if len(self._settled) > MAX_SETTLED_HOMES:
                del self._settled[next(iter(self._settled))]

    def make_environment(self, own: Mapping[str, str], depth: int = 0) -> dict[str, str]:
        """Return the environment of a child with these variables of its own.

        Args:
            depth: depth of the child's run; the child may serve only runs of this depth.
        """
        return NO_TERMINAL | child_environment(self._environ, own) | {DEPTH_VARIABLE: str(depth)}

    async def spawn_child(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], run: str | None = None
    ) -> Child:
        """Start a program with pipes for its three streams; its process is recorded before the program begins.

        It gets a mark in its environment, which everything that it starts inherits, also outside of its group. All of
        that is ended with it; if this gateway dies before, the next start of a program ends it.

        Args:
            argv: the program and its arguments; the program is looked up on the child's PATH.
            cwd: an existing directory.
            env: the whole environment of the child, see `make_environment`.
            run: id of the run that it works for; None for a server that outlives runs.

        Raises:
            AgentError: the program cannot be started.
            Exhausted: it cannot be started now: the machine is out of descriptors, processes or memory.
        """
        program = find_program(argv[0], env, cwd)
        command = [program, *argv[1:]]
        gated = sys.platform != "win32"
        if gated:
            command = ["/bin/sh", "-c", _GATE_SCRIPT, "gate", *command]
        room = await asyncio.to_thread(self._make_scratch)
        mark = orphans.make_mark()
        loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(orphans.end_abandoned)
            transport, protocol = await loop.subprocess_exec(
                lambda: _ExitProtocol(loop),
                *command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env={
                    **({_UNPACK_VARIABLE: room} if room else {}),
                    **env,
                    orphans.MARK_VARIABLE: mark,
                    "PWD": cwd,
                },
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            if room is not None:
                scratch.clear_directory(room)
            if isinstance(error, OSError) and error.errno in _SCARCE_ERRNOS:
                raise Exhausted(f"cannot start {argv[0]!r} now: {error.strerror}.", remedy=_SCARCE_REMEDY) from error
            raise AgentError(f"cannot start {argv[0]!r}: {error}.") from error
        child = Child(transport, protocol, self._ledger, room=room, mark=mark)
        try:
            if child.who is not None:
                await self._ledger.record_process(child.who, run)
            if gated:
                await child.write_stdin(b"\n")
        except BaseException:
            await child.stop_group()
            raise
        return child

    def _make_scratch(self) -> str | None:
        """Return a new directory for the files that a program unpacks; remove directories of dead processes."""
        if self._scratch is None:
            return None
        self._scratch.clear_abandoned()
        try:
            return self._scratch.make_directory()
        except OSError:  # a full disk does not prevent the start: the program finds another place or reports it
            return None


async def read_lines(
    stream: asyncio.StreamReader, limit: int, begun: bytearray | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a stream without line ends; the last line may lack its line end.

    Args:
        begun: gets the beginning of the line whose end has not come yet.

    Raises:
        AgentError: a line is longer than `limit` bytes.
    """
    rest = bytearray() if begun is None else begun
    while data := await stream.read(OUTPUT_BUFFER_BYTES):
        *ends, last = data.split(b"\n")
        for end in ends:
            rest += end
            line = bytes(rest)
            rest.clear()  # a long line is in memory twice only until here
            yield line
        rest += last
        if len(rest) > limit:
            raise AgentError(f"the agent wrote a line of more than {limit // 1024} KiB.")
    if rest:
        yield bytes(rest)
