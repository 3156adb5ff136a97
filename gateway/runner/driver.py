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

from gateway.backends import Tools
from gateway.backends.opencode.backend import Opencode
from gateway.process import orphans, scratch
from gateway.process.child import Children
from gateway.process.identity import Identity
from gateway.process.scratch import Scratch

#: seconds for the thread to start
BEGIN = 10.0


class Unrecorded:
    """A ledger that records nothing: opencode's next start ends processes that a killed program left."""

    async def record(self, who: Identity, run: str | None) -> None: ...

    async def forget(self, who: Identity) -> None: ...


class Work:
    """A task in the driver's thread, which another thread can end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        self._loop = loop
        self._done = threading.Event()
        self._task: asyncio.Task[None] | None = None
        loop.call_soon_threadsafe(self._begin, work)

    def end(self, patience: float) -> None:
        """Cancel the task, and wait up to `patience` seconds for its end."""
        self._loop.call_soon_threadsafe(self._cancel)
        self._done.wait(patience)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work, name="turn")
        self._task.add_done_callback(lambda _: self._done.set())

    def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()


class Driver:
    """Runs coroutines in a thread of its own. A process has one; the first turn starts it."""

    _here: Driver | None = None
    _making = threading.Lock()

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        directories = Scratch(Path(tempfile.gettempdir()), prefix="moongate-runner-")
        directories.clear_abandoned()
        self._directory = Path(directories.make())
        self._thread = threading.Thread(target=self._loop.run_forever, name="moongate-runner", daemon=True)
        self._thread.start()
        self.backend = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(BEGIN)
        atexit.register(self._close)

    @classmethod
    def get(cls) -> Driver:
        """Return the process's driver."""
        with cls._making:
            if cls._here is None or cls._here._pid != os.getpid():  # a fork has no threads
                cls._here = cls()
            return cls._here

    def start(self, work: Coroutine[Any, Any, None]) -> Work:
        """Start a coroutine in the thread."""
        return Work(self._loop, work)

    async def _open(self) -> Opencode:
        children = Children(Unrecorded(), os.environ, Scratch(self._directory / "scratch"))
        resources = Tools(children=children, environ=os.environ, directory=self._directory)
        return await Opencode(resources).__aenter__()

    def _close(self) -> None:
        """End opencode's servers, without the loop: at the program's exit, its helper threads are gone."""
        if self._pid == os.getpid():
            orphans.end_ours()
            scratch.clear(str(self._directory))
            self._loop.call_soon_threadsafe(self._loop.stop)
