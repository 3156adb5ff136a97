"""The gateway as one process, without a supervisor: signals stop it, or restart it inside the process.

Used with `MOONGATE_NO_RESPAWN=1`, and on systems that cannot pass a socket to another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway import config, log, serve
from gateway.api.routing import Control, ServerContext
from gateway.assembly.checks import check_settings
from gateway.assembly.secret_values import collect_secrets
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.engine.execution.owner import Owner
from gateway.errors import GatewayError
from gateway.process import heap, identity
from gateway.serve import Shutdown
from gateway.supervisor import intent, restart_plan, signals
from gateway.supervisor.intent import Intent

_log = log.get()


def run_unsupervised(
    listener: socket.socket,
    instance: str,
    lock: Path,
    *,
    settings: Config,
    sinks: Sequence[log.Sink],
    greet: Callable[[dict[str, Any]], None],
    here: bool = True,
) -> bool:
    """Serve in the foreground without a supervisor.

    Args:
        settings: what to serve with until a restart.
        here: whether a restart happens inside this process; connections wait in the socket meanwhile.

    Returns:
        Whether another process must start it again.

    Raises:
        GatewayError: the settings, or the database, cannot be used.
    """
    agents = check_settings(settings, os.environ, remember=True)

    async def welcome(context: ServerContext) -> None:
        greet(await serve.describe_default_agent(context))

    async def serve_by_signals() -> bool:
        with SignalLifecycle(lock, welcome, settings, agents).handle_signals() as lifecycle:
            while lifecycle.again and (here or not lifecycle.generation):
                lifecycle.begin_serving()
                writer = log.configure_logging(
                    lifecycle.settings.log.level, sinks, collect_secrets(lifecycle.settings, lifecycle.agents)
                )
                try:
                    owner = Owner(instance, identity.own_identity())
                    await serve.serve_requests(
                        lifecycle.settings, lifecycle.agents, listener.dup(), owner, lifecycle, lifecycle.generation
                    )
                finally:
                    writer.close()
            return lifecycle.again

    heap.limit_heap(os.environ)
    return asyncio.run(serve_by_signals())


class SignalLifecycle:
    """The lifecycle of a process without a supervisor: it leads from the start; signals stop or restart it."""

    def __init__(
        self,
        lock: Path,
        greet: Callable[[ServerContext], Coroutine[Any, Any, None]],
        settings: Config,
        agents: list[Agent],
    ) -> None:
        """Args:
        lock: the lock file; restarts are asked for and answered next to it.
        greet: awaited when requests are answered for the first time.
        settings, agents: what to begin with.
        """
        self._lock = lock
        self._greet = greet
        self._received: asyncio.Queue[int] = asyncio.Queue()
        self._asked: list[Intent] = []
        #: what the next `begin_serving` takes: a restart reads it once
        self._checked = settings, agents
        #: number of times that it has begun to serve
        self.generation = 0
        #: whether it must serve again after this shutdown
        self.again = True
        self.settings: Config
        self.agents: list[Agent]

    @contextlib.contextmanager
    def handle_signals(self) -> Iterator[SignalLifecycle]:
        """Put signals on a queue while the block runs."""
        loop = asyncio.get_running_loop()

        def put(number: int, _: object) -> None:
            loop.call_soon_threadsafe(self._received.put_nowait, number)

        before = {
            number: signal.signal(number, put) for number in signals.HANDLED_SIGNALS if number != signals.CHILD_SIGNAL
        }
        signals.unblock_handled()
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def begin_serving(self) -> None:
        """Begin to serve, or to serve once more, with the settings that were checked last."""
        self.settings, self.agents = self._checked
        self.generation += 1
        self.again = False
        self._grace = self.settings.gateway.stop_grace

    async def on_ready(self, context: ServerContext) -> None:
        if self.generation == 1:
            await self._greet(context)
        self._answer_restarts(self.generation, ok=True)

    async def wait_to_lead(self) -> None:
        return

    async def wait_for_shutdown(self) -> Shutdown:
        while True:
            number = await self._received.get()
            stops = number in signals.STOP_SIGNALS
            if stops or self._may_restart(number):
                self.again = not stops
                return Shutdown(self._take_grace(), "restart" if self.again else signal.Signals(number).name)

    async def on_passive(self) -> None:
        return

    @property
    def control(self) -> Control:
        return Control(
            restart=lambda reason: self._received.put_nowait(signals.RELOAD_SIGNAL),
            stop=lambda: self._received.put_nowait(signal.SIGTERM),
            notes={},
        )

    def _take_grace(self) -> float:
        """Return the grace for open requests and runs: as requested, else as configured; 0 from the second call on."""
        said = intent.take_grace(self._lock, os.getpid())
        grace, self._grace = self._grace if said is None else said, 0.0
        return grace

    def _may_restart(self, number: int) -> bool:
        """Return whether a signal restarts: it has an intent or needs none, and the settings are valid."""
        asked = intent.take_intents(self._lock, os.getpid())
        if number != signals.RELOAD_SIGNAL and not asked and not restart_plan.may_restart_by_signal(os.environ):
            _log.warning("restart.ignored", reason="SIGUSR1 came without an intent, and it may not restart by itself")
            return False
        self._asked += asked
        try:
            self._checked = _read_settings()
        except Exception as error:  # whatever is wrong with the settings, it must not end what serves
            why = str(error) if isinstance(error, GatewayError) else f"{type(error).__name__}: {error}"
            _log.error("restart.failed", error=why, exc_info=not isinstance(error, GatewayError))
            self._answer_restarts(self.generation, ok=False, error=why)
            return False
        return True

    def _answer_restarts(self, new: int, *, ok: bool, error: str = "") -> None:
        asked, self._asked = self._asked, []
        old = new - 1 if ok else new
        for one in asked:
            with contextlib.suppress(OSError):
                intent.write_outcome(self._lock, intent.Outcome(one.id, ok, old, new, error))


def _read_settings() -> tuple[Config, list[Agent]]:
    settings = config.load(os.environ)
    return settings, check_settings(settings, os.environ, remember=True)
