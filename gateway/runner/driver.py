"""The thread that all runners of a process share: an event loop with one opencode backend."""

from __future__ import annotations

import asyncio
import atexit
import os
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from gateway.backends import BackendResources
from gateway.backends.opencode.backend import OpencodeBackend
from gateway.process import orphans, scratch
from gateway.process.child import Children
from gateway.process.identity import Identity
from gateway.process.scratch import ScratchSpace

#: seconds for the thread to start
THREAD_START_TIMEOUT_SECONDS = 10.0
#: seconds for its tasks to end at the exit of the program
THREAD_END_TIMEOUT_SECONDS = 2.0


class NoLedger:
    """A ledger that records nothing: opencode's next start ends processes that a killed program left."""

    async def record_process(self, who: Identity, run: str | None) -> None: ...

    async def forget_process(self, who: Identity) -> None: ...


class DriverTask:
    """A task in the driver's thread, which another thread can end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        self._loop = loop
        self._done = threading.Event()
        self._task: asyncio.Task[None] | None = None
        loop.call_soon_threadsafe(self._start_task, work)

    def cancel_and_wait(self, timeout_seconds: float) -> None:
        """Cancel the task, and wait up to `timeout_seconds` seconds for its end."""
        self._loop.call_soon_threadsafe(self._cancel_task)
        self._done.wait(timeout_seconds)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work, name="turn")
        self._task.add_done_callback(lambda _: self._done.set())

    def _cancel_task(self) -> None:
        assert self._task is not None
        self._task.cancel()


class Driver:
    """Runs coroutines in a thread of its own. A process has one; the first turn starts it."""

    _here: Driver | None = None
    _making = threading.Lock()

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        directories = ScratchSpace(Path(tempfile.gettempdir()), prefix="moongate-runner-")
        directories.clear_abandoned()
        self._directory = Path(directories.make_directory())
        self._thread = threading.Thread(target=self._loop.run_forever, name="moongate-runner", daemon=True)
        self._thread.start()
        self.backend = asyncio.run_coroutine_threadsafe(self._open_backend(), self._loop).result(
            THREAD_START_TIMEOUT_SECONDS
        )
        atexit.register(self._close_backend)

    @classmethod
    def get_driver(cls) -> Driver:
        """Return the process's driver."""
        with cls._making:
            if cls._here is None or cls._here._pid != os.getpid():  # a fork has no threads
                cls._here = cls()
            return cls._here

    def start_task(self, work: Coroutine[Any, Any, None]) -> DriverTask:
        """Start a coroutine in the thread."""
        return DriverTask(self._loop, work)

    async def _open_backend(self) -> OpencodeBackend:
        children = Children(NoLedger(), os.environ, ScratchSpace(self._directory / "scratch"))
        resources = BackendResources(children=children, environ=os.environ, directory=self._directory)
        return await OpencodeBackend(resources).__aenter__()

    def _close_backend(self) -> None:
        """End opencode's servers, without the loop: at the program's exit, its helper threads are gone."""
        if self._pid == os.getpid():
            orphans.end_ours()
            scratch.clear_directory(str(self._directory))
            asyncio.run_coroutine_threadsafe(self._end_tasks(), self._loop)
            self._thread.join(THREAD_END_TIMEOUT_SECONDS)

    async def _end_tasks(self) -> None:
        """Cancel what still waits in the loop, such as a server's idle time, and stop the loop."""
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._loop.stop()
