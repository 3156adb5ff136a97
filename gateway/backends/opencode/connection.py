"""A connection to an opencode server: its API, its events, and what it holds for the turns in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from gateway.backends.opencode.calls import API_CALL_TIMEOUT_SECONDS
from gateway.backends.opencode.driven_server import DrivenServer
from gateway.backends.opencode.events import EventStream
from gateway.backends.opencode.wire import Session
from gateway.errors import AgentError
from gateway.process.child import Child

#: directories without a turn that a server of ours keeps prepared; each costs about 30 MB and 3 threads
MAX_IDLE_DIRECTORIES = 8
#: seconds that a stopped session must stay idle before the stop counts as done
STOP_SETTLE_SECONDS = 3.0
#: seconds after which we stop watching a stopped session
STOP_TIMEOUT_SECONDS = 30.0
#: bytes of a server's output that are read at a time
OUTPUT_CHUNK_BYTES = 4096


class ServerConnection:
    """A server that answers, and its events."""

    def __init__(self, api: DrivenServer, child: Child | None = None) -> None:
        """Args:
        child: the server's process if we have started it; None for a server that somebody else runs.
        """
        self.api = api
        self.stream = EventStream(api)
        self._child = child
        #: number of turns in each directory that our server has prepared; the last used one is last
        self._directories: OrderedDict[str, int] = OrderedDict()
        self._directories_lock = asyncio.Lock()
        #: tasks that stop prompts which came too early to be aborted, by session
        self._stops: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._start_task(self._close_api_when_gone())
        if child is not None:
            self._start_task(self._discard_output(child))
            self._start_task(self._watch_process(child))

    @property
    def is_ours(self) -> bool:
        """Whether we have started the server."""
        return self._child is not None

    @property
    def loss_reason(self) -> str | None:
        """Why the server is gone; None while it is there."""
        return self.stream.loss_reason

    async def close(self) -> None:
        """Close the connection; stop the server if it is ours."""
        await self.stream.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.api.close()
        if self._child is not None:
            await self._child.stop_group()

    @contextlib.asynccontextmanager
    async def use_directory(self, directory: str) -> AsyncIterator[None]:
        """Keep a directory prepared while a turn works in it."""
        await self.api.prepare_directory(directory)
        if self._child is None:
            yield  # the owner of the server decides what it keeps
            return
        async with self._directories_lock:
            self._directories[directory] = self._directories.get(directory, 0) + 1
            self._directories.move_to_end(directory)
        try:
            yield
        finally:
            self._directories[directory] -= 1
            if len(self._directories) > MAX_IDLE_DIRECTORIES:
                self._start_task(self._dispose_idle_directories())

    async def wait_for_stop(self, session: str) -> None:
        """Wait until `keep_stopping` is done with a session."""
        if (task := self._stops.get(session)) is not None:
            await asyncio.wait([task])

    def keep_stopping(self, session: Session) -> None:
        """Stop a prompt that the server has accepted but not started, in a task.

        A server starts a prompt some time after it accepts it, about a second later in a directory
        that it does not know. An abort before the start has no effect, so it is repeated.
        """
        task = self._stops[session.id] = self._start_task(self._abort_until_idle(session))
        task.add_done_callback(lambda _: self._stops.pop(session.id, None))

    async def _abort_until_idle(self, session: Session) -> None:
        clock = asyncio.get_running_loop().time
        began = last_busy = clock()
        while (
            clock() - last_busy < STOP_SETTLE_SECONDS
            and clock() - began < STOP_TIMEOUT_SECONDS
            and self.stream.loss_reason is None
        ):
            with contextlib.suppress(AgentError):
                if await self.api.is_busy(session):
                    await self.api.abort_session(session, API_CALL_TIMEOUT_SECONDS)
                    last_busy = clock()
            await asyncio.sleep(0.1)

    async def _dispose_idle_directories(self) -> None:
        async with self._directories_lock:
            idle = [name for name, turns in self._directories.items() if not turns]
            for name in idle[: max(0, len(self._directories) - MAX_IDLE_DIRECTORIES)]:
                del self._directories[name]
                with contextlib.suppress(AgentError):
                    await self.api.dispose_directory(name)

    async def _close_api_when_gone(self) -> None:
        """Cancel the open calls when the server is gone: it may hang instead of being dead."""
        await self.stream.ended.wait()
        await self.api.close()

    async def _discard_output(self, child: Child) -> None:
        while await child.stdout.read(OUTPUT_CHUNK_BYTES):
            pass

    async def _watch_process(self, child: Child) -> None:
        code = await child.wait_ended()
        self.stream.mark_lost(describe_exit(child, code))

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="opencode-server")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def describe_exit(child: Child, code: int) -> str:
    """Return how a server's process ended, with the end of its standard error."""
    how = f"its server was ended by signal {-code}" if code < 0 else f"its server ended with status {code}"
    tail = child.stderr_tail()[-500:]
    return f"{how}: {tail}" if tail else how
