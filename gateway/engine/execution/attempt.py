"""One try to execute a run, as the worker and the executor share it."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

from gateway.domain.run import ClaimedRun
from gateway.engine.execution.attempt_files import AttemptFiles


class Interrupt(Enum):
    """Why an attempt is interrupted from outside."""

    CANCEL = "cancelled"
    STOP = "the gateway stopped"
    DISK = "the disk refused"
    FENCED = "fenced"


class Attempt:
    """One try to execute a run, and the handle to interrupt it."""

    #: executes the attempt; the worker sets it
    task: asyncio.Task[None]

    def __init__(self, claimed: ClaimedRun) -> None:
        self.run = claimed.run
        #: what its first turn begins with; later turns read it
        self.session_start = claimed.session_start
        #: the files that it is given and makes; the executor sets it
        self.files: AttemptFiles
        #: in goal mode: the current round, and whether the goal was reached
        self.rounds: int | None = None
        self.done: bool | None = None
        self._interrupt: asyncio.Future[Interrupt] = asyncio.get_running_loop().create_future()

    def interrupt(self, why: Interrupt) -> None:
        """Ask the attempt to end now. The first reason counts."""
        if not self._interrupt.done():
            self._interrupt.set_result(why)

    async def wait_for(self, task: asyncio.Task[None], seconds: float) -> bool:
        """Wait for a task, an interrupt, or the deadline. Returns whether the task has ended."""
        either: set[asyncio.Future[Any]] = {task, self._interrupt}
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return task.done()

    @property
    def agent_id(self) -> str:
        """The id of the run's agent."""
        return self.run.spec.agent

    @property
    def interrupted_by(self) -> Interrupt | None:
        return self._interrupt.result() if self._interrupt.done() else None
