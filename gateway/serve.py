"""One serving process: listens on a given socket, reports when it is ready, and drains on request.

A supervisor gives a generation the socket and exchanges messages with it over a control channel.
`gateway.unsupervised` serves without a supervisor.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # until ready: a start creates no garbage, and collections take a tenth of its time

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

from gateway import app, config, config_handover, control_channel, log, paths
from gateway.api import default_agent
from gateway.api.routing import Control, ServerContext
from gateway.api.server import ApiServer
from gateway.assembly.checks import check_settings
from gateway.assembly.secret_values import collect_secrets
from gateway.assembly.setting_digests import describe_settings
from gateway.config import Config, ConfigSources
from gateway.config_handover import LateStart
from gateway.control_channel import MessageType
from gateway.domain.agent import Agent
from gateway.engine.execution.owner import Owner
from gateway.errors import AgentNotFound, GatewayError
from gateway.process import heap, identity
from gateway.process.own_environment import keep_own_environment
from gateway.store import choice

#: seconds between two heartbeats to the supervisor
HEARTBEAT_INTERVAL_SECONDS = 1.0
#: seconds after which a serving process exits when its supervisor has died
ORPHAN_EXIT_SECONDS = 6.0
#: seconds that the agent has to report its version
INTRODUCTION_TIMEOUT_SECONDS = 5.0

_log = log.get()


class Shutdown(NamedTuple):
    """How a serving process must end."""

    #: seconds that requests and runs have to finish
    grace: float
    why: str
    #: whether another process continues with the queue; if so, callers here may wait for its results
    handed_over: bool = False


class Lifecycle(Protocol):
    """Tells a serving process when to lead and when to end."""

    async def on_ready(self, context: ServerContext) -> None:
        """Do what is due when requests are answered."""

    async def wait_to_lead(self) -> None:
        """Wait until this process may claim runs."""

    async def wait_for_shutdown(self) -> Shutdown:
        """Wait for a request to end; each further call waits for a request with a shorter grace."""

    async def on_passive(self) -> None:
        """Do what is due when this process claims no more runs."""

    @property
    def control(self) -> Control:
        """What authorized callers may ask of this process."""
        ...


async def serve_requests(
    settings: Config,
    agents: Sequence[Agent],
    listener: socket.socket,
    owner: Owner,
    lifecycle: Lifecycle,
    generation: int,
) -> None:
    """Serve until asked to end, then drain; a second request shortens the grace.

    Args:
        agents: as `check_settings` returned them.
        listener: a bound socket; closed here when the shutdown begins.

    Raises:
        ConfigError: the database cannot be used.
    """
    async with app.open_gateway(settings, agents, owner, generation=generation, control=lifecycle.control) as context:
        server = ApiServer(context)
        await server.start_serving(listener)
        _log.info("gateway.ready", generation=generation, port=listener.getsockname()[1])
        leading = asyncio.create_task(_lead_when_told(lifecycle, context, context.clock()), name="lead")
        ending = await _wait_for_shutdown(lifecycle, leading)
        leading.cancel()
        _log.info("gateway.ending", generation=generation, why=ending.why, grace=ending.grace)
        listener.close()
        await server.stop_accepting()
        await context.engine.step_down()
        await lifecycle.on_passive()
        hurry = asyncio.create_task(_shorten_grace(lifecycle, server, context), name="hurry")
        await server.close(ending.grace, context.engine.drain_runs, handed_over=ending.handed_over)
        hurry.cancel()
        await context.engine.generations.record_end(generation, ending.why)
    _log.info("gateway.ended", generation=generation)


async def _wait_for_shutdown(lifecycle: Lifecycle, leading: asyncio.Task[None]) -> Shutdown:
    """Wait for a request to end. If this process cannot lead, raise the error: it would accept work and never do it."""
    ending = asyncio.create_task(lifecycle.wait_for_shutdown(), name="ending")
    await asyncio.wait({ending, leading}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        leading.result()
    return await ending


async def _lead_when_told(lifecycle: Lifecycle, context: ServerContext, ready: int) -> None:
    """Args: ready: when requests were answered, in milliseconds since 1970 UTC."""
    await lifecycle.on_ready(context)
    await lifecycle.wait_to_lead()
    await context.engine.start_leading()
    if context.certificate is None:  # only now: a process before this one may have served TLS
        home, file = context.config.home, context.config.path
        paths.served_certificates_file(paths.locks_directory(home), file).unlink(missing_ok=True)
    await context.engine.generations.record_leading(context.generation, started=context.started, ready=ready)
    with contextlib.suppress(GatewayError):  # the next start compares them again
        await context.engine.audit.note_settings(*describe_settings(context.config))


async def _shorten_grace(lifecycle: Lifecycle, server: ApiServer, context: ServerContext) -> None:
    while True:
        ending = await lifecycle.wait_for_shutdown()
        await asyncio.sleep(ending.grace)
        context.engine.skip_grace()
        server.skip_grace()


class SupervisedLifecycle:
    """The lifecycle of a generation: its supervisor tells it when to lead and when to end."""

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
        """Exchange messages over an inherited socket, and send heartbeats, while the block runs."""
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
        line = cls(reader, writer, number)
        try:
            yield line
        finally:
            line._hearing.cancel()
            line._beating.cancel()
            writer.close()

    async def on_ready(self, context: ServerContext) -> None:
        keep_own_environment()
        self.send_message(MessageType.READY, **await describe_default_agent(context))
        gc.freeze()  # objects of the start live until the exit: the collector need not visit them
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
        """Report that the database needs a migration, and wait until no other process uses it.

        Returns:
            False if this process must end instead.
        """
        self.send_message(MessageType.MIGRATION)
        waits = [asyncio.create_task(self.wait_to_lead()), asyncio.create_task(self.wait_for_shutdown())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not waits[1].done()

    def send_message(self, message_type: MessageType, **about: Any) -> None:
        self._writer.write(control_channel.encode_message(message_type, **about))

    async def _send_heartbeats(self) -> None:
        while True:
            self.send_message(MessageType.BEAT)
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)

    async def _receive_messages(self) -> None:
        decoder = control_channel.MessageDecoder()
        with contextlib.suppress(ConnectionError):  # a supervisor killed with unread data resets the connection
            while data := await self._reader.read(control_channel.MAX_CONTROL_MESSAGE_BYTES):
                for message in decoder.decode_messages(data):
                    self._handle_message(message)
        self._endings.put_nowait(Shutdown(0.0, "the supervisor is gone"))

    def _handle_message(self, message: control_channel.Message) -> None:
        match message.word:
            case MessageType.LEAD:
                self._leading.set()
            case MessageType.STEP_DOWN:
                why = _explain_end("a new generation leads", message)
                self._endings.put_nowait(Shutdown(float(message.about["seconds"]), why, True))
            case MessageType.STOP:
                why = _explain_end("the gateway stops", message)
                self._endings.put_nowait(Shutdown(float(message.about["seconds"]), why))
            case MessageType.NOTE:
                self._notes.clear()
                self._notes.update(message.about)


def _explain_end(end: str, message: control_channel.Message) -> str:
    """Return why this process ends, with the reason of its supervisor if it gives one."""
    reason = message.about.get("reason")  # a supervisor of 0.1.0 gives none
    return f"{end}: {reason}" if reason else end


async def describe_default_agent(context: ServerContext) -> dict[str, Any]:
    """Return the default agent and whether it answers, for the banner."""
    try:
        default = context.engine.agents.default_agent
    except AgentNotFound as error:
        return {"agent": "none", "introduction": str(error)}
    health = await context.agent_check.check_agent(context.engine, default, INTRODUCTION_TIMEOUT_SECONDS)
    return {"agent": default.id, "introduction": default_agent.introduce_agent(default, health, context.config)}


def main(argv: list[str]) -> int:
    """Serve as a generation.

    Args:
        argv: the listening socket, the control channel and the number; without the first, the supervisor sends it over
            the channel, with the environment and the config, when it has them.
    """
    *listening, line, number = map(int, argv)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    for number_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):  # the supervisor handles them
        signal.signal(number_, _ignore_signal)
    for descriptor in (*listening, line):
        os.set_inheritable(descriptor, False)
    if listening:
        listener, sources = socket.socket(fileno=listening[0]), config_handover.take_sources(os.environ)
    else:
        started = _wait_for_start(line)
        if started is None:
            return 0
        listener, sources = started.listener, started.sources
    heap.limit_heap(os.environ)
    threading.Thread(target=_exit_after_supervisor, args=[os.dup(line)], name="outlive", daemon=True).start()
    return asyncio.run(_serve_generation(listener, line, number, sources))


def _wait_for_start(line: int) -> LateStart | None:
    """Wait until the supervisor has what is needed, and take over its environment; return None if it has ended."""
    with socket.socket(fileno=os.dup(line)) as channel:
        started = config_handover.receive_start(channel)
    if started is not None:
        os.umask(0o077)
        os.environ.clear()
        os.environ.update(started.env)
    return started


async def _serve_generation(
    listener: socket.socket, descriptor: int, number: int, sources: ConfigSources | None
) -> int:
    with listener:
        return await _serve_supervised(listener, descriptor, number, sources)


async def _serve_supervised(
    listener: socket.socket, descriptor: int, number: int, sources: ConfigSources | None
) -> int:
    async with SupervisedLifecycle.open_channel(descriptor, number) as line:
        try:
            # A supervisor of 0.1.0, which an upgrade in place leaves running, hands over nothing.
            settings = config.load(os.environ) if sources is None else config.parse_config(sources, os.environ)
            agents = check_settings(settings, os.environ, remember=True)
            writer = log.configure_logging(settings.log.level, [_write_to_pipe], collect_secrets(settings, agents))
            try:
                if choice.is_migration_pending(settings) and not await line.wait_to_migrate():
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
    """Exit some seconds after the supervisor has died, even if the event loop hangs."""
    poll = select.poll()
    poll.register(line, 0)  # no events: poll always reports that the channel has closed
    poll.poll()
    time.sleep(ORPHAN_EXIT_SECONDS)
    os._exit(1)


def _ignore_signal(number: int, frame: object) -> None:
    """Do nothing. SIG_IGN would be inherited by agents."""


def _write_to_pipe(line: bytes, level: int) -> None:
    """Write a whole line to the supervisor's pipe. Runs on the log's own thread: a full pipe blocks nothing else."""
    data = memoryview(line + b"\n")
    while data:
        data = data[os.write(2, data) :]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
