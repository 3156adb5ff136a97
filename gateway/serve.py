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
from gateway.api.routing import Control, Surroundings
from gateway.api.server import Server
from gateway.config import Config
from gateway.control_channel import Word
from gateway.domain.agent import Agent
from gateway.engine.execution.owner import Owner
from gateway.errors import AgentNotFound, GatewayError
from gateway.process import identity

#: seconds between two heartbeats to the supervisor
BEAT = 1.0
#: seconds after the death of its supervisor within which a serving process ends
ORPHANED = 6.0
#: seconds that the agent has to say its version
INTRODUCTION = 5.0

_log = log.get()


class Ending(NamedTuple):
    """How a serving process is to end."""

    #: seconds that requests and runs get to finish
    grace: float
    why: str
    #: whether another process goes on with the queue: then callers may wait for results here
    handed_over: bool = False


class Life(Protocol):
    """What tells a serving process when to lead and when to end."""

    async def ready(self, around: Surroundings) -> None:
        """Requests are answered."""

    async def lead(self) -> None:
        """Wait until this process is the one that claims runs."""

    async def end(self) -> Ending:
        """Wait until it must end; each further call waits for a shorter grace."""

    async def passive(self) -> None:
        """It claims no more runs."""

    @property
    def control(self) -> Control:
        """What callers with the right to may ask of it."""
        ...


async def serve(
    settings: Config, agents: Sequence[Agent], listener: socket.socket, owner: Owner, life: Life, generation: int
) -> None:
    """Serve until told to end, then drain; being told again cuts the grace short.

    Args:
        agents: as `app.check` returned them.
        listener: bound; closed here when the end begins.

    Raises:
        ConfigError: the database cannot be used.
    """
    async with app.opened(settings, agents, owner, generation=generation, control=life.control) as around:
        server = Server(around)
        await server.open(listener)
        _log.info("gateway.ready", generation=generation, port=listener.getsockname()[1])
        leading = asyncio.create_task(_lead(life, around), name="lead")
        ending = await _ending(life, leading)
        leading.cancel()
        _log.info("gateway.ending", generation=generation, why=ending.why, grace=ending.grace)
        listener.close()
        await server.stop_accepting()
        await around.engine.stand_down()
        await life.passive()
        hurry = asyncio.create_task(_hurry(life, server, around), name="hurry")
        await server.close(ending.grace, around.engine.drain, handed_over=ending.handed_over)
        hurry.cancel()
    _log.info("gateway.ended", generation=generation)


async def _ending(life: Life, leading: asyncio.Task[None]) -> Ending:
    """Wait until it must end. If it cannot lead, raise why: it would accept work and never do it."""
    ending = asyncio.create_task(life.end(), name="ending")
    await asyncio.wait({ending, leading}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        leading.result()
    return await ending


async def _lead(life: Life, around: Surroundings) -> None:
    await life.ready(around)
    await life.lead()
    await around.engine.lead()


async def _hurry(life: Life, server: Server, around: Surroundings) -> None:
    while True:
        ending = await life.end()
        await asyncio.sleep(ending.grace)
        around.engine.hurry()
        server.hurry()


class Line:
    """The life of a generation: its supervisor tells it when to lead and when to end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._reader = reader
        self._writer = writer
        self._number = number
        self._leading = asyncio.Event()
        self._endings: asyncio.Queue[Ending] = asyncio.Queue()
        self._notes: dict[str, str] = {}
        self._hearing = asyncio.create_task(self._hear(), name="line")
        self._beating = asyncio.create_task(self._beat(), name="beat")

    @classmethod
    @asynccontextmanager
    async def opened(cls, descriptor: int, number: int) -> AsyncIterator[Line]:
        """Talk over an inherited socket, and give signs of life, for the time of the block."""
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
        line = cls(reader, writer, number)
        try:
            yield line
        finally:
            line._hearing.cancel()
            line._beating.cancel()
            writer.close()

    async def ready(self, around: Surroundings) -> None:
        self.say(Word.READY, **await introduction(around))
        gc.freeze()  # objects of the start stay to the end: no collection has to visit them again
        gc.enable()

    async def lead(self) -> None:
        await self._leading.wait()

    async def end(self) -> Ending:
        return await self._endings.get()

    async def passive(self) -> None:
        self.say(Word.PASSIVE)

    @property
    def control(self) -> Control:
        return Control(
            restart=lambda reason: self.say(Word.RESTART_PLEASE, reason=reason),
            stop=lambda: self.say(Word.STOP_PLEASE),
            notes=self._notes,
        )

    async def may_migrate(self) -> bool:
        """Say that the database needs a migration, and wait until no other process uses it.

        Returns:
            False if it must end instead.
        """
        self.say(Word.MIGRATION)
        waits = [asyncio.create_task(self.lead()), asyncio.create_task(self.end())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not waits[1].done()

    def say(self, word: Word, **about: Any) -> None:
        self._writer.write(control_channel.encode(word, **about))

    async def _beat(self) -> None:
        while True:
            self.say(Word.BEAT)
            await asyncio.sleep(BEAT)

    async def _hear(self) -> None:
        decoder = control_channel.Decoder()
        with contextlib.suppress(ConnectionError):  # one that was killed before it read all has reset the line
            while data := await self._reader.read(control_channel.LONGEST):
                for message in decoder.feed(data):
                    self._heed(message)
        self._endings.put_nowait(Ending(0.0, "the supervisor is gone"))

    def _heed(self, message: control_channel.Message) -> None:
        match message.word:
            case Word.LEAD:
                self._leading.set()
            case Word.STEP_DOWN:
                self._endings.put_nowait(Ending(float(message.about["seconds"]), "a new generation leads", True))
            case Word.STOP:
                self._endings.put_nowait(Ending(float(message.about["seconds"]), "the gateway stops"))
            case Word.NOTE:
                self._notes.clear()
                self._notes.update(message.about)


async def introduction(around: Surroundings) -> dict[str, Any]:
    """Return the default agent and whether it answers, for the greeting."""
    try:
        default = around.engine.agents.default
    except AgentNotFound as error:
        return {"agent": "none", "introduction": str(error)}
    try:
        async with asyncio.timeout(INTRODUCTION):
            health = await around.engine.agents.health(default)
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
        signal.signal(number_, _nothing)
    for descriptor in (listener, line):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_outlive, args=[os.dup(line)], name="outlive", daemon=True).start()
    return asyncio.run(_generation(socket.socket(fileno=listener), line, number))


async def _generation(listener: socket.socket, descriptor: int, number: int) -> int:
    with listener:
        return await _talking(listener, descriptor, number)


async def _talking(listener: socket.socket, descriptor: int, number: int) -> int:
    async with Line.opened(descriptor, number) as line:
        try:
            settings = config.load(os.environ)
            agents = app.check(settings, os.environ)
            writer = log.configure(settings.log.level, [_to_pipe], app.secrets(settings, agents))
            try:
                if app.migration_pending(settings) and not await line.may_migrate():
                    return 0
                owner = Owner(os.environ["MOONGATE_INSTANCE"], identity.own())
                await serve(settings, agents, listener, owner, line, number)
            finally:
                writer.close()
        except GatewayError as error:
            line.say(Word.FAILED, error=str(error))
            return error.exit_code
    return 0


def _outlive(line: int) -> None:
    """End this process some seconds after its supervisor died, even if the event loop hangs."""
    poll = select.poll()
    poll.register(line, 0)  # no events: the closing of the channel is always reported
    poll.poll()
    time.sleep(ORPHANED)
    os._exit(1)


def _nothing(number: int, frame: object) -> None:
    """Not SIG_IGN, which agents would inherit."""


def _to_pipe(line: bytes, level: int) -> None:
    """Write a whole line to the supervisor's pipe; on the log's own thread, so a full pipe holds nobody."""
    data = memoryview(line + b"\n")
    while data:
        data = data[os.write(2, data) :]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
