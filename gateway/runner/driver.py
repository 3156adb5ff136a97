"""The thread behind all runners of a process: an event loop with one opencode backend in it."""

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

#: seconds for the thread to begin
BEGIN = 10.0


class Unrecorded:
    """No ledger: what a program leaves behind when it is killed is swept by opencode's next start."""

    async def record(self, who: Identity, run: str | None) -> None: ...

    async def forget(self, who: Identity) -> None: ...


class Work:
    """Something that is done in the driver's thread, and the handle to end it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        self._loop = loop
        self._done = threading.Event()
        self._task: asyncio.Task[None] | None = None
        loop.call_soon_threadsafe(self._begin, work)

    def end(self, patience: float) -> None:
        """Cancel it, and wait so many seconds until it has ended."""
        self._loop.call_soon_threadsafe(self._cancel)
        self._done.wait(patience)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work, name="turn")
        self._task.add_done_callback(lambda _: self._done.set())

    def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()


class Driver:
    """Does work in its own thread. One a process, begun by the first runner that works."""

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
        """Begin a coroutine in the thread."""
        return Work(self._loop, work)

    async def _open(self) -> Opencode:
        children = Children(Unrecorded(), os.environ, Scratch(self._directory / "scratch"))
        resources = Tools(children=children, environ=os.environ, directory=self._directory)
        return await Opencode(resources).__aenter__()

    def _close(self) -> None:
        """End opencode's servers. The program is ending: the loop's own helper threads are gone by now."""
        if self._pid == os.getpid():
            orphans.end_ours()
            scratch.clear(str(self._directory))
            self._loop.call_soon_threadsafe(self._loop.stop)
