"""Routes, declared once: how one is reached, who may, what it reads and answers.

The same declaration validates requests and makes the OpenAPI document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway import plugins
from gateway.api import errors
from gateway.api.body import JSON
from gateway.api.readiness import Pulse
from gateway.config import Config
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.times import Clock
from gateway.domain.token import Scope
from gateway.engine.engine import Engine
from gateway.engine.latch import Latch
from gateway.engine.resources.tokens import Principal
from gateway.errors import GatewayError, InvalidRequest

B = TypeVar("B")
Q = TypeVar("Q")

#: characters of an Idempotency-Key
KEY_LENGTH = 255


class Unheeded(Struct, frozen=True):
    """No fields that matter: what other systems' clients send beside is not looked at."""


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No fields: an empty body, or no query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What may be asked of whoever looks after the serving process."""

    #: begins a restart for a reason; None where there is nobody to do it
    restart: Callable[[str], None] | None
    #: begins a stop
    stop: Callable[[], None]
    #: what people should know of, by what it is about: changes while the process runs
    notes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all calls of one server share."""

    engine: Engine
    config: Config
    #: id of this instance, new with each start
    instance: str
    #: number of this serving process under its supervisor, from 1
    generation: int
    #: milliseconds since 1970 UTC
    started: int
    clock: Clock
    #: set when the server is about to close: streams end
    closing: Latch
    control: Control
    pulse: Pulse = field(default_factory=Pulse)


class Call(Generic[B, Q]):
    """One request that has passed all checks, its parts parsed."""

    __slots__ = ("body", "headers", "id", "principal", "query", "request", "route", "server")

    def __init__(
        self,
        request: web.Request,
        route: Route,
        server: Surroundings,
        *,
        id: str,  # noqa: A002 the field's own word
        principal: Principal,
        body: B,
        query: Q,
    ) -> None:
        self.request = request
        self.route = route
        self.server = server
        self.id = id
        self.principal = principal
        self.body = body
        self.query = query
        #: sent with the answer
        self.headers: dict[str, str] = {}

    @property
    def engine(self) -> Engine:
        return self.server.engine

    @property
    def path(self) -> Any:
        """The named parts of the path, decoded."""
        return self.request.match_info

    @property
    def wants_stream(self) -> bool:
        """Whether the caller names streams among what it takes."""
        return "text/event-stream" in self.request.headers.get("Accept", "").lower()

    @property
    def wants_json(self) -> bool:
        """Whether the caller names JSON among what it takes, and no streams."""
        return "application/json" in self.request.headers.get("Accept", "").lower() and not self.wants_stream

    @property
    def depth(self) -> int:
        """How many runs stand above what is asked for, as an agent's own commands tell it.

        Raises:
            InvalidRequest: it is no number.
        """
        told = self.request.headers.get("X-Moongate-Depth")
        if told is None:
            return 0
        if not (told.isascii() and told.isdigit() and len(told) <= 4):
            raise InvalidRequest("X-Moongate-Depth: a number of up to four digits.")
        return int(told) + 1

    def idempotency(self) -> IdempotencyKey | None:
        """Return the caller's Idempotency-Key, scoped by token and route.

        Raises:
            InvalidRequest: it is empty, too long or not printable ASCII.
        """
        key = self.request.headers.get("Idempotency-Key")
        if key is None:
            return None
        if not (1 <= len(key) <= KEY_LENGTH and key.isascii() and key.isprintable()):
            raise InvalidRequest(f"Idempotency-Key: 1 to {KEY_LENGTH} printable ASCII characters.")
        said = msgspec.json.encode((self.request.path, self.body), order="deterministic")
        scope = f"{self.principal.name} {self.route.method} {self.route.path}"
        return IdempotencyKey(scope=scope, key=key, digest=hashlib.sha256(said).hexdigest())


Handler = Callable[[Any], Awaitable[Any]]
#: checks a call's header while its body is unread
Gate = Callable[[web.Request, "Surroundings"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How the clients of some routes know errors, and where they put their token."""

    #: the shape of an error's body
    error: type[Struct]
    #: says an error in that shape
    complain: Callable[[GatewayError], Struct]
    #: the path that all of them are under, if they are: what is missing there is told in that shape, too
    home: str | None = None
    #: a header that carries the token where there is no Authorization
    bearer_header: str | None = None


NATIVE = Dialect(error=errors.ErrorAnswer, complain=errors.answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way in."""

    method: str
    path: str
    handler: Handler
    #: what a token must allow; None lets everyone in
    scope: Scope | None
    body: type[Struct]
    query: type[Struct]
    answer: type[Struct] | type[list[Any]] | None
    status: int
    summary: str
    #: status of the empty answer to what nobody answers, where there is such
    silent_status: int | None = None
    #: also answers as a stream of server-sent events
    streams: bool = False
    #: is a WebSocket, which may be opened with a ticket
    socket: bool = False
    #: what an answer without a type is
    answer_media_type: str = "application/json"
    #: for who signs what they send: checks the header first, and the handler gets the body's bytes as they came
    gate: Gate | None = None
    #: bytes of the body, where that is not what `limits.body` says
    max_body_bytes: int | None = None
    #: media types of the body
    media_types: Sequence[str] = (JSON,)
    dialect: Dialect = NATIVE


@dataclass(slots=True)
class Routes:
    """The routes of one module; a module's attribute `ROUTES`."""

    #: their common word in the OpenAPI document
    tag: str
    listed: list[Route] = field(default_factory=list)
    dialect: Dialect = NATIVE

    def add(
        self,
        method: str,
        path: str,
        *,
        scope: Scope | None,
        body: type[Struct] = Nothing,
        query: type[Struct] = Nothing,
        answer: type[Struct] | type[list[Any]] | None = None,
        status: int = 200,
        silent_status: int | None = None,
        streams: bool = False,
        socket: bool = False,
        answer_media_type: str = "application/json",
        gate: Gate | None = None,
        max_body_bytes: int | None = None,
        media_types: Sequence[str] = (JSON,),
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated function as a route; its docstring's first line is the summary."""

        def declare(handler: Handler) -> Handler:
            self.listed.append(
                Route(
                    method=method,
                    path=path,
                    handler=handler,
                    scope=scope,
                    body=body,
                    query=query,
                    answer=answer,
                    status=status,
                    silent_status=silent_status,
                    summary=(handler.__doc__ or "").partition("\n")[0].rstrip("."),
                    streams=streams,
                    socket=socket,
                    answer_media_type=answer_media_type,
                    gate=gate,
                    max_body_bytes=max_body_bytes,
                    media_types=media_types,
                    dialect=self.dialect,
                )
            )
            return handler

        return declare


def all_routes() -> list[Route]:
    """Return all routes of all modules."""
    return [
        route
        for package in ("gateway.api.routes", "gateway.api.compat")
        for module in plugins.discover(package, "ROUTES").values()
        for route in module.listed
    ]
