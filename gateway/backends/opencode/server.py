"""An opencode server: opened on first use, shared by all turns, left when nobody needs it.

It is either a process of ours or one that somebody else runs. Either way what is held of it is a
`Connection`; when that is lost, the next turn opens another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.backends.opencode.api import CALL, Api
from gateway.backends.opencode.events import Stream
from gateway.backends.opencode.wire import Session
from gateway.errors import AgentError
from gateway.process.child import Child, Children

#: directories without a turn that stay prepared in a server of ours; each costs some 30 MB and 3 threads
PREPARED = 8
#: seconds that a stopped session must stay idle until its stop is believed, and the longest wait for that
QUIET, LATE = 3.0, 30.0
#: seconds between two starts, by the number of failures in a row: after the first one at once
BACKOFF = (0.0, 0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
#: seconds that a server must have lived for its death to count as a first one
SETTLED = 60.0

_READY = re.compile(rb"listening on (http://\S+)\s")
#: bytes of a server's output that are read at a time
_PIECE = 4096


class _EndedEarly(AgentError):
    """The server has ended before it listened."""


class Connection:
    """A server that answers, and its events."""

    def __init__(self, api: Api, child: Child | None = None) -> None:
        self.api = api
        self.stream = Stream(api)
        self._child = child
        #: directories that a server of ours has prepared, with the turns in each; used last comes last
        self._directories: OrderedDict[str, int] = OrderedDict()
        self._disposing = asyncio.Lock()
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._hang_up())
        if child is not None:
            self._spawn(self._discard(child))
            self._spawn(self._watch(child))

    async def close(self) -> None:
        """Let go of the server; end it, if it is ours."""
        await self.stream.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.api.close()
        if self._child is not None:
            await self._child.stop()

    @contextlib.asynccontextmanager
    async def using(self, directory: str) -> AsyncIterator[None]:
        """Keep a directory prepared while a turn is in it."""
        if self._child is None:
            yield  # what another's server keeps is not ours to tidy up
            return
        async with self._disposing:
            self._directories[directory] = self._directories.get(directory, 0) + 1
            self._directories.move_to_end(directory)
        try:
            yield
        finally:
            self._directories[directory] -= 1
            if len(self._directories) > PREPARED:
                self._spawn(self._dispose())

    async def stopped(self, session: str) -> None:
        """Wait until a stop of the session that is under way is done."""
        if (task := self._stopping.get(session)) is not None:
            await asyncio.wait([task])

    def keep_stopping(self, session: Session) -> None:
        """See to it that a prompt is stopped which the server had not yet begun with.

        It takes a prompt at once and begins with it later, a second later in a directory that it
        does not know; an abort in between has no effect.
        """
        task = self._stopping[session.id] = self._spawn(self._keep_stopping(session))
        task.add_done_callback(lambda _: self._stopping.pop(session.id, None))

    async def _keep_stopping(self, session: Session) -> None:
        clock = asyncio.get_running_loop().time
        began = seen = clock()
        while clock() - seen < QUIET and clock() - began < LATE and self.stream.gone is None:
            with contextlib.suppress(AgentError):
                if await self.api.busy(session):
                    await self.api.abort(session, CALL)
                    seen = clock()
            await asyncio.sleep(0.1)

    async def _dispose(self) -> None:
        async with self._disposing:
            idle = [name for name, turns in self._directories.items() if not turns]
            for name in idle[: max(0, len(self._directories) - PREPARED)]:
                del self._directories[name]
                with contextlib.suppress(AgentError):
                    await self.api.dispose(name)

    async def _hang_up(self) -> None:
        """Cut short what is being asked of a server that is gone: it may hang, and not be dead."""
        await self.stream.ended.wait()
        await self.api.close()

    async def _discard(self, child: Child) -> None:
        while await child.stdout.read(_PIECE):
            pass

    async def _watch(self, child: Child) -> None:
        code = await child.wait()
        self.stream.end(_death(child, code))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="opencode-server")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _death(child: Child, code: int) -> str:
    how = f"its server was ended by signal {-code}" if code < 0 else f"its server ended with status {code}"
    tail = child.stderr_tail()[-500:]
    return f"{how}: {tail}" if tail else how


class Server:
    """Opens a connection when a turn needs one, and closes it when none did for a while."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], *, idle_stop: float, backoff: Sequence[float]
    ) -> None:
        self._connect = connect
        self._idle_stop = idle_stop
        self._backoff = backoff
        #: held while a connection is opened or closed
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Task[None] | None = None
        self._users = 0
        #: deaths and failed starts in a row
        self._failures = 0
        #: when it was last opened, by the loop's clock
        self._opened = float("-inf")

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """Give the connection to a turn.

        Raises:
            AgentError: the server cannot be started or reached.
        """
        self._users += 1
        if self._timer is not None:
            self._timer.cancel()
        try:
            yield await self._open()
        finally:
            self._users -= 1
            if self._users == 0:
                self._timer = asyncio.create_task(self._stop_when_idle(), name="opencode-idle")

    def present(self) -> Connection | None:
        """Return the connection, if there is one that works."""
        here = self._connection
        return here if here is not None and here.stream.gone is None else None

    async def close(self) -> None:
        for task in (self._timer, self._opening):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._drop()
        await asyncio.gather(*self._closing)

    async def _open(self) -> Connection:
        if (here := self.present()) is not None:
            return here
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._reopen(), name="opencode-open")
            # A turn that is cancelled leaves the start to go on: somebody may wait for it, or come soon.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening)

    async def _reopen(self) -> Connection:
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if self._connection is not None:
                self._failures = self._failures + 1 if clock() - self._opened < SETTLED else 1
                await self._drop()
            pause = self._backoff[min(self._failures, len(self._backoff) - 1)]
            await asyncio.sleep(max(0.0, self._opened + pause - clock()))
            self._opened = clock()
            try:
                self._connection = await self._connect()
            except AgentError:
                self._failures += 1
                raise
            return self._connection

    async def _drop(self) -> None:
        if self._connection is None:
            return
        # In a task of its own: whoever waits for it may be cancelled, and half a stop is none.
        task = asyncio.create_task(self._connection.close(), name="opencode-close")
        self._connection = None
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        await asyncio.shield(task)

    async def _stop_when_idle(self) -> None:
        await asyncio.sleep(self._idle_stop)
        async with self._lock:
            if self._users == 0:
                self._failures = 0
                await self._drop()


@contextlib.asynccontextmanager
async def visiting(url: str, password: str | None) -> AsyncIterator[Api]:
    """Talk to a server that somebody else runs, without its events."""
    api = Api(url.rstrip("/"), password)
    try:
        yield api
    finally:
        await api.close()


async def attach(url: str, password: str | None) -> Connection:
    """Connect to a server that somebody else runs.

    Raises:
        AgentError: it does not answer, or refuses the password.
    """
    async with visiting(url, password) as api:
        await api.health(within=10.0)
    return await _ready(Connection(Api(url.rstrip("/"), password)))


async def launch(
    children: Children, command: Sequence[str], env: Mapping[str, str], directory: Path, within: float
) -> Connection:
    """Start a server of our own, with a password that nobody else knows.

    Raises:
        AgentError: it cannot be started, or is not ready in so many seconds.
    """
    await asyncio.to_thread(os.makedirs, directory, 0o700, True)
    async with children.settling(command[0], env):
        try:
            return await _begin(children, command, env, directory, within)
        except _EndedEarly:  # as it does while another one, of whomever, sets up the same home
            return await _begin(children, command, env, directory, within)


async def _begin(
    children: Children, command: Sequence[str], env: Mapping[str, str], directory: Path, within: float
) -> Connection:
    password = secrets.token_urlsafe(32)
    child = await children.spawn(
        [*command, "serve", "--hostname", "127.0.0.1", "--port", "0"],
        cwd=str(directory),
        env={**env, "OPENCODE_SERVER_PASSWORD": password},
        strays=True,
    )
    try:
        child.close_stdin()
        url = await _url(child, within)
    except BaseException:
        await child.stop()
        raise
    return await _ready(Connection(Api(url, password), child))


async def _url(child: Child, within: float) -> str:
    """Wait until the server says where it listens; a request before that can hang for ever."""
    said = b""
    try:
        async with asyncio.timeout(within):
            while piece := await child.stdout.read(_PIECE):
                said = (said + piece)[-2 * _PIECE :]
                if (found := _READY.search(said)) is not None:
                    return found[1].decode("ascii", "replace")
            code = await child.wait()
    except TimeoutError:
        tail = child.stderr_tail()[-500:]
        raise AgentError(f"opencode was not ready within {within:g} s. {tail}".rstrip()) from None
    raise _EndedEarly(f"opencode did not start: {_death(child, code)}.")


async def _ready(connection: Connection) -> Connection:
    try:
        async with asyncio.timeout(CALL):
            await connection.stream.ready()
    except TimeoutError:
        await connection.close()
        raise AgentError("opencode does not tell what happens: its events do not come.") from None
    except BaseException:
        await connection.close()
        raise
    if connection.stream.gone is not None:
        await connection.close()
        raise AgentError(f"opencode is gone: {connection.stream.gone}.")
    return connection
