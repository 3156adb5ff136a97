"""An opencode server: connected when a turn needs it, shared by all turns, closed when none needs it.

The server is a process of ours, or one that somebody else runs. A `ServerConnection` stands for both; when
it is lost, the next turn opens another. An `AcpProgram` stands for a program of ours whose server we cannot drive.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from gateway import log
from gateway.backends.opencode.api import OpencodeApi
from gateway.backends.opencode.calls import API_CALL_TIMEOUT_SECONDS, ServerCalls
from gateway.backends.opencode.connection import OUTPUT_CHUNK_BYTES, ServerConnection, describe_exit
from gateway.backends.opencode.driven_server import DrivenServer
from gateway.backends.opencode.over_acp import AcpProgram
from gateway.backends.opencode.probe import ServerVersion, find_version
from gateway.backends.opencode.v2.api import OpencodeApi2
from gateway.errors import AgentError
from gateway.process.child import Child, Children
from gateway.process.terminal_text import clean_bytes

#: seconds between two starts, by the number of failures in a row; the first failure waits for nothing
START_BACKOFF_SECONDS = (0.0, 0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
#: seconds that a server must have run for its end to count as the first failure again
STABLE_RUN_SECONDS = 60.0

#: seconds for a server that listens to answer what it is
SERVER_VERSION_TIMEOUT_SECONDS = 10.0

#: both versions write it, with other words before
_LISTENING_LINE = re.compile(r"listening on (http://\S+)\s")


_log = log.get()

#: what a turn works with
Connection = ServerConnection | AcpProgram


class _EndedEarly(AgentError):
    """The server ended before it listened."""


class SharedServer:
    """Opens a connection when a turn needs one, and closes it when no turn has needed it for a while."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], *, idle_stop: float, backoff: Sequence[float]
    ) -> None:
        """Args:
        idle_stop: seconds without a turn until the connection is closed.
        backoff: seconds between two starts, by the number of failures in a row.
        """
        self._connect = connect
        self._idle_stop = idle_stop
        self._backoff = backoff
        #: held while a connection is opened or closed
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._idle_timer: asyncio.Task[None] | None = None
        self._users = 0
        #: ends and failed starts in a row
        self._failures = 0
        #: the loop's time when it was last opened
        self._opened = float("-inf")

    @contextlib.asynccontextmanager
    async def use_connection(self) -> AsyncIterator[Connection]:
        """Give the connection to a turn.

        Raises:
            AgentError: the server cannot be started or reached.
        """
        self._users += 1
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        try:
            yield await self._open_shared()
        finally:
            self._users -= 1
            if self._users == 0:
                self._idle_timer = asyncio.create_task(self._close_when_idle(), name="opencode-idle")

    def live_connection(self) -> Connection | None:
        """Return the connection; None if there is none, or if it is lost."""
        connection = self._connection
        return connection if connection is not None and connection.loss_reason is None else None

    @property
    def is_unused(self) -> bool:
        """Whether nothing is lost with it: no turn has it or waits for it, and it has no connection."""
        tasks = (self._idle_timer, self._opening, *self._closing)
        return not self._users and self._connection is None and all(task is None or task.done() for task in tasks)

    async def close(self) -> None:
        for task in (self._idle_timer, self._opening):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._close_connection()
        await asyncio.gather(*self._closing)

    async def _open_shared(self) -> Connection:
        """Return the connection; open it if needed. Turns that come at the same time share one start."""
        if (connection := self.live_connection()) is not None:
            return connection
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open_after_backoff(), name="opencode-open")
            # The start goes on when its turn is cancelled: another turn may wait for it, or come soon.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening)

    async def _open_after_backoff(self) -> Connection:
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if self._connection is not None:
                self._failures = self._failures + 1 if clock() - self._opened < STABLE_RUN_SECONDS else 1
                await self._close_connection()
            pause = self._backoff[min(self._failures, len(self._backoff) - 1)]
            await asyncio.sleep(max(0.0, self._opened + pause - clock()))
            self._opened = clock()
            try:
                self._connection = await self._connect()
            except AgentError:
                self._failures += 1
                raise
            return self._connection

    async def _close_connection(self) -> None:
        if self._connection is None:
            return
        # A task of its own: the caller may be cancelled, and the close must still run to its end.
        task = asyncio.create_task(self._connection.close(), name="opencode-close")
        self._connection = None
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        await asyncio.shield(task)

    async def _close_when_idle(self) -> None:
        await asyncio.sleep(self._idle_stop)
        async with self._lock:
            if self._users == 0:
                self._failures = 0
                await self._close_connection()


async def find_server_version(url: str, password: str | None, within: float) -> ServerVersion:
    """Ask a server that somebody else runs which version it is.

    Raises:
        AgentError: it does not answer, or refuses the password.
    """
    calls = ServerCalls(url.rstrip("/"), password)
    try:
        return await find_version(calls, within)
    finally:
        await calls.close()


async def _open_api(
    url: str, password: str | None, own_directory: Path | None = None
) -> tuple[ServerVersion, DrivenServer | None]:
    """Return which version a server is, and its API; None if it lacks routes that we need."""
    found = await find_server_version(url, password, SERVER_VERSION_TIMEOUT_SECONDS)
    if found.api == 1:
        return found, OpencodeApi(url, password)
    api = OpencodeApi2(url, password, None if own_directory is None else str(own_directory))
    try:
        if await api.has_needed_routes(SERVER_VERSION_TIMEOUT_SECONDS):
            return found, api
    except BaseException:
        await api.close()
        raise
    await api.close()
    return found, None


async def attach_to_server(url: str, password: str | None) -> ServerConnection:
    """Connect to a server that somebody else runs.

    Raises:
        AgentError: it does not answer, refuses the password, or is of a version that we do not know.
    """
    found, api = await _open_api(url.rstrip("/"), password)
    if api is None:
        raise AgentError(
            f"the server at {url} is opencode {found.program}, which lacks routes that Moongate needs.",
            remedy="Update it; or leave `url` out: then Moongate starts opencode, and drives it over `opencode acp`.",
        )
    return await _await_events(ServerConnection(api))


async def launch_server(
    children: Children, command: Sequence[str], env: Mapping[str, str], directory: Path, within: float
) -> Connection:
    """Start a server of our own, with a password that nobody else knows.

    A server that lacks routes that we need is stopped again: its program is driven over `opencode acp`.

    Args:
        within: seconds for the server to listen.

    Raises:
        AgentError: it cannot be started, or does not listen in time.
    """
    await asyncio.to_thread(os.makedirs, directory, 0o700, True)
    async with children.first_start(command[0], env):
        try:
            return await _launch_once(children, command, env, directory, within)
        except _EndedEarly:  # an opencode fails while another process prepares the same home directory
            return await _launch_once(children, command, env, directory, within)


async def _launch_once(
    children: Children, command: Sequence[str], env: Mapping[str, str], directory: Path, within: float
) -> Connection:
    password = secrets.token_urlsafe(32)
    child = await children.spawn_child(
        [*command, "serve", "--hostname", "127.0.0.1", "--port", "0"],
        cwd=str(directory),
        env={**env, "OPENCODE_SERVER_PASSWORD": password},
    )
    try:
        child.close_stdin()
        url = await _read_url(child, within)
        found, api = await _open_api(url, password, directory)
    except BaseException:
        await child.stop_group()
        raise
    if api is not None:
        return await _await_events(ServerConnection(api, child))
    await child.stop_group()
    _log.info(
        "opencode.over_acp", program=command[0], version=found.program, why="its server lacks routes that we need"
    )
    return AcpProgram(found.program)


async def _read_url(child: Child, within: float) -> str:
    """Wait until the server prints where it listens; a request before that can hang for ever."""
    output = b""
    try:
        async with asyncio.timeout(within):
            while piece := await child.stdout.read(OUTPUT_CHUNK_BYTES):
                output = (output + piece)[-2 * OUTPUT_CHUNK_BYTES :]
                if (found := _LISTENING_LINE.search(clean_bytes(output))) is not None:
                    return found[1]
            code = await child.wait_ended()
    except TimeoutError:
        tail = child.stderr_tail()[-500:]
        raise AgentError(
            f"opencode was not ready within {within:g} s. {tail}{_quote_output(output)}".rstrip()
        ) from None
    raise _EndedEarly(f"opencode did not start: {describe_exit(child, code)}.{_quote_output(output)}")


def _quote_output(output: bytes) -> str:
    said = clean_bytes(output).strip()[-500:]
    return f" It wrote: {said}" if said else ""


async def _await_events(connection: ServerConnection) -> ServerConnection:
    """Return the connection when its events come in."""
    try:
        async with asyncio.timeout(API_CALL_TIMEOUT_SECONDS):
            await connection.stream.wait_ready()
    except TimeoutError:
        await connection.close()
        raise AgentError(f"opencode sent no events within {API_CALL_TIMEOUT_SECONDS:g} s.") from None
    except BaseException:
        await connection.close()
        raise
    if connection.stream.loss_reason is not None:
        await connection.close()
        raise AgentError(f"opencode is gone: {connection.stream.loss_reason}.")
    return connection
