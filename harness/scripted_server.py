"""What the scripted models share: they read a directive (`harness.directives`), and stream what it says.

A module for a protocol has a server, a subclass of `ScriptedServer`, and a stream, a subclass of `AnswerStream`.
`GET /state` shows a server's counters, and its log gets one JSON line per request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from aiohttp import web

from harness.directives import Answer, Call, Plan, Refusal, Trouble, answer
from harness.received_files import ReceivedFile, find_files

_MEGABYTE = 1_000_000


@dataclass(slots=True)
class Counters:
    """Counts of what has happened so far."""

    requests: int = 0
    #: answers that are being streamed, or that hang
    active: int = 0
    #: clients that disconnected before the end
    disconnects: int = 0


@dataclass(slots=True)
class ScriptedServer(ABC):
    """The server's state; `application` makes the server."""

    #: base URL for clients; empty until it listens
    base_url: str = ""
    counters: Counters = field(default_factory=Counters)
    #: the requests so far, each with `path`, `headers` and `body`
    requests: list[dict[str, Any]] = field(default_factory=list)
    #: file that gets one JSON line per request
    log: Path | None = None
    refused: Counter[str] = field(default_factory=Counter)

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the protocol."""

    @abstractmethod
    def error_body(self, status: int, message: str) -> dict[str, Any]:
        """Return the body of an HTTP error."""

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes([web.get("/state", self._state), *self.routes()])
        return app

    def is_prompt(self, body: dict[str, Any]) -> bool:
        """Return whether a request is for an answer; agents make others, too: for a title of the conversation."""
        return True

    @property
    def last_prompt(self) -> dict[str, Any]:
        """The last request for an answer: others may come after it, at any time."""
        return next(one for one in reversed(self.requests) if self.is_prompt(one["body"]))

    @property
    def files(self) -> list[ReceivedFile]:
        """The files in the requests so far, each once."""
        return list(dict.fromkeys(file for one in self.requests for file in find_files(one["body"])))

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self.counters))

    async def answer_not_found(self, request: web.Request) -> web.Response:
        """Answer whatever else an agent looks for, such as its account: it is not here."""
        return web.json_response(self.error_body(404, "not scripted"), status=404)

    async def note(self, request: web.Request) -> dict[str, Any]:
        """Record a request, and return its body."""
        body: dict[str, Any] = await request.json()
        self.counters.requests += 1
        entry = {"path": request.path, "headers": dict(request.headers), "body": body}
        self.requests.append(entry)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(json.dumps({"at": time.time(), **entry}) + "\n")
        return body

    def _refusal(self, plan: Refusal, prompt: str) -> web.Response | None:
        """Return the HTTP error that a plan wants now; None if the prompt was refused often enough."""
        self.refused[prompt] += 1
        if plan.times is not None and self.refused[prompt] > plan.times:
            return None
        return web.json_response(
            self.error_body(plan.status, f"scripted error {plan.status}"),
            status=plan.status,
            headers={} if plan.after is None else {"Retry-After": plan.after},
        )

    async def perform(
        self, plan: Plan, prompt: str, stream: AnswerStream | None, whole: Callable[[Answer | Call], dict[str, Any]]
    ) -> web.StreamResponse:
        """Do what a plan says, as a stream; without one, as the JSON that `whole` makes."""
        if isinstance(plan, Refusal):
            if (refusal := self._refusal(plan, prompt)) is not None:
                return refusal
            plan = answer("recovered")
        with self._working():
            if plan == Trouble("hang"):
                await asyncio.Event().wait()
            if stream is not None:
                return await stream.perform(plan)
            if isinstance(plan, Trouble):
                plan = answer("(this trouble is for streams only)")
            if isinstance(plan, Answer):
                await asyncio.sleep(plan.pause * len(plan.words))
            return web.json_response(whole(plan))

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        self.counters.active += 1
        try:
            yield
        except (ConnectionError, asyncio.CancelledError):
            self.counters.disconnects += 1
            raise
        finally:
            self.counters.active -= 1


class AnswerStream(ABC):
    """One streamed answer."""

    #: a piece of an answer that is JSON, but not UTF-8
    not_utf8: ClassVar[bytes]

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})

    @abstractmethod
    async def open(self) -> None:
        """Send what comes before the answer."""

    @abstractmethod
    async def think(self, text: str) -> None:
        """Send reasoning."""

    @abstractmethod
    async def say(self, text: str) -> None:
        """Send a piece of the answer."""

    async def draw(self, picture: bytes) -> None:  # noqa: B027
        """Send a picture, if the protocol has them."""

    @abstractmethod
    async def call(self, call: Call) -> None:
        """Send a call of a tool, and the end."""

    @abstractmethod
    async def end(self, text: str, *, cut: bool = False) -> None:
        """Send the end of an answer; `text` is the whole of it."""

    @abstractmethod
    async def fail(self, message: str) -> None:
        """Send an error in the stream."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Send one event of the stream with these data, whatever they are."""

    async def write_named(self, kind: str, data: bytes) -> None:
        """Send one event of the stream with its name."""
        await self.response.write(f"event: {kind}\ndata: ".encode() + data + b"\n\n")

    async def perform(self, plan: Answer | Call | Trouble) -> web.StreamResponse:
        """Stream what a plan says."""
        await self.response.prepare(self._request)
        await self.open()
        match plan:
            case Answer():
                if plan.thought:
                    await self.think(plan.thought)
                for word in plan.words:
                    await asyncio.sleep(plan.pause)
                    await self.say(word)
                if plan.picture:
                    await self.draw(plan.picture)
                await self.end(plan.text, cut=plan.cut)
            case Call():
                await self.call(plan)
            case Trouble():
                await self.say("a piece ")
                await self._misbehave(plan)
        return self.response

    async def _misbehave(self, trouble: Trouble) -> None:
        match trouble.kind:
            case "midfail":
                assert self._request.transport is not None
                self._request.transport.close()
            case "refuse":
                await self.fail(trouble.argument)
            case "garbage":
                await self.write(b"{this is not JSON")
            case "bytes":
                await self.write(self.not_utf8)
            case "line":
                await self.say("x" * (int(trouble.argument) * _MEGABYTE))
                await self.end("")
            case "flood":
                for _ in range(int(trouble.argument) * 16):
                    await self.say("x" * (_MEGABYTE // 16))
                await self.end("")


Server = TypeVar("Server", bound=ScriptedServer)


@contextlib.asynccontextmanager
async def serve(server: Server, port: int = 0, path: str = "") -> AsyncIterator[Server]:
    """Serve a scripted model on loopback, with that path in its base URL; port 0 means any free port."""
    # Without handler_cancellation, the server would not notice that a client has disconnected.
    runner = web.AppRunner(server.application(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        host, bound = runner.addresses[0][:2]
        server.base_url = f"http://{host}:{bound}{path}"
        yield server
    finally:
        await runner.cleanup()


def run_forever(serve: Callable[[int, Path | None], AbstractAsyncContextManager[ScriptedServer]]) -> None:
    """Serve on the port in the first argument of the program, with the log in its second, until Ctrl-C."""

    async def run() -> None:
        async with serve(int(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None) as model:
            print(f"listening on {model.base_url}", flush=True)
            await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
