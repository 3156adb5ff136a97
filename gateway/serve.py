"""One serving process: listens on a given socket, says when it is ready, and drains when told.

A supervisor hands a generation the socket and talks with it over a control channel.
`gateway.unsupervised` serves without a supervisor.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # until it is ready: nothing that a start loads is garbage, and to look for some takes a tenth of it

import asyncio
import contextlib
import faulthandler
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

from gateway import app, config, control_channel, log
from gateway.api.routing import Control, ServerContext
from gateway.api.server import ApiServer
from gateway.config import Config
from gateway.control_channel import MessageType
from gateway.domain.agent import Agent
from gateway.engine.execution.owner import Owner
from gateway.errors import AgentNotFound, GatewayError
from gateway.process import identity

#: seconds between two heartbeats to the supervisor
HEARTBEAT_INTERVAL_SECONDS = 1.0
#: seconds after the death of its supervisor within which a serving process ends
ORPHAN_EXIT_SECONDS = 6.0
#: seconds that the agent has to say its version
INTRODUCTION_TIMEOUT_SECONDS = 5.0

_log = log.get()


class Shutdown(NamedTuple):
    """How a serving process is to end."""

    #: seconds that requests and runs get to finish
    grace: float
    why: str
    #: whether another process goes on with the queue: then callers may wait for results here
    handed_over: bool = False


class Lifecycle(Protocol):
    """What tells a serving process when to lead and when to end."""

    async def on_ready(self, context: ServerContext) -> None:
        """Requests are answered."""

    async def wait_to_lead(self) -> None:
        """Wait until this process is the one that claims runs."""

    async def wait_for_shutdown(self) -> Shutdown:
        """Wait until it must end; each further call waits for a shorter grace."""

    async def on_passive(self) -> None:
        """It claims no more runs."""

    @property
    def control(self) -> Control:
        """What callers with the right to may ask of it."""
        ...


async def serve_requests(
    settings: Config, agents: Sequence[Agent], listener: socket.socket, owner: Owner, life: Lifecycle, generation: int
) -> None:
    """Serve until told to end, then drain; being told again cuts the grace short.

    Args:
        agents: as `app.check_agents` returned them.
        listener: bound; closed here when the end begins.

    Raises:
        ConfigError: the database cannot be used.
    """
    async with app.open_gateway(settings, agents, owner, generation=generation, control=life.control) as context:
        server = ApiServer(context)
        await server.start_serving(listener)
        _log.info("gateway.ready", generation=generation, port=listener.getsockname()[1])
        leading = asyncio.create_task(_lead_when_told(life, context), name="lead")
        ending = await _wait_for_shutdown(life, leading)
        leading.cancel()
        _log.info("gateway.ending", generation=generation, why=ending.why, grace=ending.grace)
        listener.close()
        await server.stop_accepting()
        await context.engine.step_down()
        await life.on_passive()
        shortening = asyncio.create_task(_shorten_grace(life, server, context), name="shorten-grace")
        await server.close(ending.grace, context.engine.drain_runs, handed_over=ending.handed_over)
        shortening.cancel()
    _log.info("gateway.ended", generation=generation)


async def _wait_for_shutdown(life: Lifecycle, leading: asyncio.Task[None]) -> Shutdown:
    """Wait until it must end. If it cannot lead, raise why: it would accept work and never do it."""
    ending = asyncio.create_task(life.wait_for_shutdown(), name="ending")
    await asyncio.wait({ending, leading}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        leading.result()
    return await ending


async def _lead_when_told(life: Lifecycle, context: ServerContext) -> None:
    await life.on_ready(context)
    await life.wait_to_lead()
    await context.engine.start_leading()


async def _shorten_grace(life: Lifecycle, server: ApiServer, context: ServerContext) -> None:
    while True:
        ending = await life.wait_for_shutdown()
        await asyncio.sleep(ending.grace)
        context.engine.skip_grace()
        server.skip_grace()


class SupervisedLifecycle:
    """The life of a generation: its supervisor tells it when to lead and when to end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._reader = reader
        self._writer = writer
        self._number = number
        self._leading = asyncio.Event()
        self._endings: asyncio.Queue[Shutdown] = asyncio.Queue()
        self._notes: dict[str, str] = {}
        self._hearing = asyncio.create_task(self._receive_messages(), name="line")
        self._beating = asyncio.create_task(self._send_heartbeats(), name="beat")

    @classmethod
    @asynccontextmanager
    async def open_channel(cls, descriptor: int, number: int) -> AsyncIterator[SupervisedLifecycle]:
        """Talk over an inherited socket, and give signs of life, for the time of the block."""
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
        line = cls(reader, writer, number)
        try:
            yield line
        finally:
            line._hearing.cancel()
            line._beating.cancel()
            writer.close()

    async def on_ready(self, context: ServerContext) -> None:
        self.send_message(MessageType.READY, **await describe_default_agent(context))
        gc.freeze()  # objects of the start stay to the end: no collection has to visit them again
        gc.enable()

    async def wait_to_lead(self) -> None:
        await self._leading.wait()

    async def wait_for_shutdown(self) -> Shutdown:
        return await self._endings.get()

    async def on_passive(self) -> None:
        self.send_message(MessageType.PASSIVE)

    @property
    def control(self) -> Control:
        return Control(
            restart=lambda reason: self.send_message(MessageType.RESTART_PLEASE, reason=reason),
            stop=lambda: self.send_message(MessageType.STOP_PLEASE),
            notes=self._notes,
        )

    async def wait_to_migrate(self) -> bool:
        """Say that the database needs a migration, and wait until no other process uses it.

        Returns:
            False if it must end instead.
        """
        self.send_message(MessageType.MIGRATION)
        waits = [asyncio.create_task(self.wait_to_lead()), asyncio.create_task(self.wait_for_shutdown())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not waits[1].done()

    def send_message(self, word: MessageType, **about: Any) -> None:
        self._writer.write(control_channel.encode_message(word, **about))

    async def _send_heartbeats(self) -> None:
        while True:
            self.send_message(MessageType.BEAT)
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)

    async def _receive_messages(self) -> None:
        decoder = control_channel.MessageDecoder()
        with contextlib.suppress(ConnectionError):  # one that was killed before it read all has reset the line
            while data := await self._reader.read(control_channel.MAX_CONTROL_MESSAGE_BYTES):
                for message in decoder.decode_messages(data):
                    self._handle_message(message)
        self._endings.put_nowait(Shutdown(0.0, "the supervisor is gone"))

    def _handle_message(self, message: control_channel.Message) -> None:
        match message.word:
            case MessageType.LEAD:
                self._leading.set()
            case MessageType.STEP_DOWN:
                self._endings.put_nowait(Shutdown(float(message.about["seconds"]), "a new generation leads", True))
            case MessageType.STOP:
                self._endings.put_nowait(Shutdown(float(message.about["seconds"]), "the gateway stops"))
            case MessageType.NOTE:
                self._notes.clear()
                self._notes.update(message.about)


async def describe_default_agent(context: ServerContext) -> dict[str, Any]:
    """Return the default agent and whether it answers, for the greeting."""
    try:
        default = context.engine.agents.default_agent
    except AgentNotFound as error:
        return {"agent": "none", "introduction": str(error)}
    try:
        async with asyncio.timeout(INTRODUCTION_TIMEOUT_SECONDS):
            health = await context.engine.agents.check_health(default)
        said = f"{default.backend} {health.version}".strip() + (f" ({health.detail})" if health.detail else "")
    except TimeoutError:
        said = f"{default.backend} (does not answer yet)"
    return {"agent": default.id, "introduction": said}


def main(argv: list[str]) -> int:
    """Serve as a generation: with a listening socket, a line to the supervisor, and a number."""
    listener, line, number = map(int, argv)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    for number_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):  # the supervisor's to decide
        signal.signal(number_, _ignore_signal)
    for descriptor in (listener, line):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_exit_after_supervisor, args=[os.dup(line)], name="outlive", daemon=True).start()
    return asyncio.run(_serve_generation(socket.socket(fileno=listener), line, number))


async def _serve_generation(listener: socket.socket, descriptor: int, number: int) -> int:
    with listener:
        return await _serve_supervised(listener, descriptor, number)


async def _serve_supervised(listener: socket.socket, descriptor: int, number: int) -> int:
    async with SupervisedLifecycle.open_channel(descriptor, number) as line:
        try:
            settings = config.load(os.environ)
            agents = app.check_agents(settings, os.environ)
            writer = log.configure_logging(settings.log.level, [_write_to_pipe], app.collect_secrets(settings, agents))
            try:
                if app.is_migration_pending(settings) and not await line.wait_to_migrate():
                    return 0
                owner = Owner(os.environ["MOONGATE_INSTANCE"], identity.own_identity())
                await serve_requests(settings, agents, listener, owner, line, number)
            finally:
                writer.close()
        except GatewayError as error:
            line.send_message(MessageType.FAILED, error=str(error))
            return error.exit_code
    return 0


def _exit_after_supervisor(line: int) -> None:
    """End this process some seconds after its supervisor died, even if the event loop hangs."""
    poll = select.poll()
    poll.register(line, 0)  # no events: the closing of the channel is always reported
    poll.poll()
    time.sleep(ORPHAN_EXIT_SECONDS)
    os._exit(1)


def _ignore_signal(number: int, frame: object) -> None:
    """Not SIG_IGN, which agents would inherit."""


def _write_to_pipe(line: bytes, level: int) -> None:
    """Write a whole line to the supervisor's pipe; on the log's own thread, so a full pipe holds nobody."""
    data = memoryview(line + b"\n")
    while data:
        data = data[os.write(2, data) :]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
