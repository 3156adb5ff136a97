"""Declares routes: path, needed scope, body, query and answer.

The same declaration validates requests and makes the OpenAPI document.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway import plugins
from gateway.api import errors
from gateway.api.audience import Audience
from gateway.api.backup_health import LastBackups
from gateway.api.body import JSON_MEDIA_TYPE, BodyCount, BodyLimit
from gateway.api.doctor import Doctor
from gateway.api.early_end import end_now
from gateway.api.readiness import AgentCheck, StorageCheck
from gateway.api.rendered_texts import RenderedTexts
from gateway.config import Config
from gateway.domain.file import File
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.run import Run
from gateway.domain.times import Clock
from gateway.domain.token import Scope
from gateway.domain.trace import TraceCounts
from gateway.engine.engine import Engine
from gateway.engine.file_staging import make_digest
from gateway.engine.latch import Latch
from gateway.engine.resources.principal import Principal
from gateway.errors import GatewayError, InvalidRequest, Unauthorized
from gateway.outbound.file_fetcher import FileFetcher

if TYPE_CHECKING:
    from gateway.api.certificate_watch import CertificateWatch

B = TypeVar("B")
Q = TypeVar("Q")

#: characters of an Idempotency-Key
MAX_IDEMPOTENCY_KEY_LENGTH = 255


class Unheeded(Struct, frozen=True):
    """Any fields: those that clients of other systems send are ignored."""


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No fields: an empty body, or no query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """How the API restarts or stops the serving process."""

    #: begins a restart, for the given reason; None when there is no supervisor
    restart: Callable[[str], None] | None
    #: begins a stop
    stop: Callable[[], None]
    #: problems that `/health` shows, by what they are about; they change while the process runs
    notes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerContext:
    """What all requests to one server share."""

    engine: Engine
    config: Config
    #: id of this instance; each start makes a new one
    instance: str
    #: number of this serving process under its supervisor; the first is 1
    generation: int
    #: milliseconds since 1970 UTC
    started: int
    clock: Clock
    #: is set when the server begins to close: streams end then
    closing: Latch
    control: Control
    doctor: Doctor
    #: fetches files that clients name by their URL; None where the settings do not allow it
    file_fetcher: FileFetcher | None = None
    #: what is served over TLS; None for plain HTTP
    certificate: CertificateWatch | None = None
    #: what became of traces; None where runs are not traced
    trace_counts: TraceCounts | None = None
    storage_check: StorageCheck = field(default_factory=StorageCheck)
    agent_check: AgentCheck = field(default_factory=AgentCheck)
    last_backups: LastBackups = field(default_factory=LastBackups)
    rendered_texts: RenderedTexts = field(default_factory=RenderedTexts)


class Call(Generic[B, Q]):
    """One request that has passed all checks, with its parsed body and query."""

    __slots__ = (
        "_classify_caller",
        "_counted",
        "_limited",
        "body",
        "body_size",
        "headers",
        "id",
        "principal",
        "query",
        "request",
        "route",
        "server",
    )

    def __init__(
        self,
        request: web.Request,
        route: Route,
        server: ServerContext,
        *,
        id: str,  # noqa: A002 the usual word
        principal: Principal,
        classify_caller: Callable[[web.Request], Audience],
        body: B,
        query: Q,
        body_size: int = 0,
        counted: BodyCount | None = None,
    ) -> None:
        self.request = request
        self.route = route
        self.server = server
        self.id = id
        self.principal = principal
        self._classify_caller = classify_caller
        self.body = body
        self.query = query
        #: bytes of the body
        self.body_size = body_size
        self._counted = counted
        self._limited: Engine | None = None
        #: headers that are sent with the answer
        self.headers: dict[str, str] = {}

    def forget_files(self, **fields: Any) -> None:
        """Drop the files in the body, which are on disk now: this request may wait for long.

        Args:
            fields: the fields that have files, and what they are without them.
        """
        body: Any = self.body
        self.body = msgspec.structs.replace(body, **fields)
        if self._counted is not None:
            self._counted.close()

    def copy_with_body(self, body: Any) -> Call[Any, Q]:
        """Return this request with another body: one of those in a batch."""
        return Call(
            self.request,
            self.route,
            self.server,
            id=self.id,
            principal=self.principal,
            classify_caller=self._classify_caller,
            body=body,
            query=self.query,
        )

    @property
    def engine(self) -> Engine:
        """The engine; for a caller with a limited token, as far as the token reaches."""
        if self.principal.reach is None:
            return self.server.engine
        if self._limited is None:
            from gateway.engine.limited.engine import limit_engine  # late: few gateways have limited tokens

            self._limited = limit_engine(self.server.engine, self.principal.reach)
        return self._limited

    async def wait_for_run(self, run_id: str, seconds: float) -> Run:
        """Wait until a run has ended, and return it, as the engine does; but no longer than the caller's token lasts.

        Raises:
            TimedOut, Unavailable: as the engine raises them.
            Unauthorized: the token was revoked, or has expired; the run goes on.
        """
        async with self.while_token_lasts(run_id):
            return await self.engine.runs.wait_for_run(run_id, seconds)

    @asynccontextmanager
    async def while_token_lasts(self, run_id: str) -> AsyncIterator[None]:
        """Interrupt a wait for a run when the caller's token ends.

        Raises:
            Unauthorized: it was revoked, or has expired; the run goes on.
        """
        deadline = asyncio.timeout(self.seconds_until_token_expires)
        try:
            async with deadline:
                with self.principal.revoked.notify_listener(partial(end_now, deadline)):
                    yield
        except TimeoutError:
            if deadline.expired():
                raise make_token_end_error(run_id) from None
            raise

    @property
    def seconds_until_token_expires(self) -> float | None:
        """The seconds until the caller's token expires; None if it never does."""
        expires = self.principal.expires
        return None if expires is None else (expires - self.server.clock()) / 1000

    @property
    def path(self) -> Any:
        """The named parts of the path, decoded."""
        return self.request.match_info

    @property
    def wants_stream(self) -> bool:
        """Whether the Accept header names server-sent events."""
        return "text/event-stream" in self.request.headers.get("Accept", "").lower()

    @property
    def wants_json(self) -> bool:
        """Whether the Accept header names JSON and no server-sent events."""
        return "application/json" in self.request.headers.get("Accept", "").lower() and not self.wants_stream

    def find_audience(self) -> Audience:
        """Return who asks on a route that needs no token. A wrong token counts as a failed attempt."""
        return self._classify_caller(self.request)

    @property
    def nesting_depth(self) -> int:
        """How many runs this request is nested in: commands that an agent runs send the number.

        Raises:
            InvalidRequest: the header is not a number.
        """
        told = self.request.headers.get("X-Moongate-Depth")
        if told is None:
            return 0
        if not (told.isascii() and told.isdigit() and len(told) <= 4):
            raise InvalidRequest("X-Moongate-Depth: send a number of up to four digits.")
        return int(told) + 1

    def read_idempotency_key(self, files: Sequence[File] = ()) -> IdempotencyKey | None:
        """Return the Idempotency-Key of the request, scoped by token and route; None if it has none.

        Args:
            files: the files that came with the request; `forget_files` has dropped them from its body.

        Raises:
            InvalidRequest: the key is empty, too long, or not printable ASCII.
        """
        key = self.request.headers.get("Idempotency-Key")
        if key is None:
            return None
        if not (1 <= len(key) <= MAX_IDEMPOTENCY_KEY_LENGTH and key.isascii() and key.isprintable()):
            raise InvalidRequest(f"Idempotency-Key: send 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} printable ASCII characters.")
        said = msgspec.json.encode((self.request.path, self.body), order="deterministic")
        if files:
            said += make_digest(files)
        scope = f"{self.principal.name} {self.route.method} {self.route.path}"
        return IdempotencyKey(scope=scope, key=key, digest=hashlib.sha256(said).hexdigest())


def make_token_end_error(run_id: str | None) -> Unauthorized:
    """Return the error for a caller whose token ends while the caller waits.

    Args:
        run_id: what it waits for.
    """
    return Unauthorized(
        "the token was revoked or has expired while this request waited; what it submitted goes on.",
        details={} if run_id is None else {"run_id": run_id},
    )


Handler = Callable[[Any], Awaitable[Any]]
#: checks the header of a request before its body is read
Gate = Callable[[web.Request, "ServerContext"], None]
#: returns how long the body of a request may be
ChooseBodyLimit = Callable[[web.Request, "ServerContext"], BodyLimit]


def limit_by_body_setting(request: web.Request, server: ServerContext) -> BodyLimit:
    """Return the limit of most bodies: `limits.body`."""
    return BodyLimit(server.config.limits.body, "limits.body")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The shape of errors that the clients of some routes expect, and where they send their token."""

    #: the shape of an error's body
    error_type: type[Struct]
    #: makes the body of an error
    render_error: Callable[[GatewayError], Struct]
    #: the path that all these routes begin with, if there is one: unknown paths below it also answer in this shape
    path_prefix: str | None = None
    #: a header that may carry the token when there is no Authorization header
    bearer_header: str | None = None


NATIVE_DIALECT = Dialect(error_type=errors.ErrorAnswer, render_error=errors.render_error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route."""

    method: str
    path: str
    handler: Handler
    #: the scope that a token needs; None needs no token
    scope: Scope | None
    body: type[Struct]
    query: type[Struct]
    answer: type[Struct] | type[list[Any]] | None
    status: int
    summary: str
    choose_body_limit: ChooseBodyLimit
    #: status of an empty answer, if the route gives one: an MCP notification has no answer
    silent_status: int | None = None
    #: whether it can also answer with a stream of server-sent events
    streams: bool = False
    #: whether the body may also be a list of such objects; the handler then gets the list
    batches: bool = False
    #: whether it is a WebSocket, which a ticket may open
    socket: bool = False
    #: media type of an answer that has no struct
    answer_media_type: str = "application/json"
    #: for senders that sign their requests: checks the header first; the handler then gets the raw bytes of the body
    gate: Gate | None = None
    #: whether the handler reads the body itself, piece by piece
    takes_stream: bool = False
    #: whether it serves a page, which links of other sites may open
    is_page: bool = False
    #: whether the OpenAPI document lists it; not where it is another spelling of a route that is listed
    documented: bool = True
    #: media types that the body may have
    media_types: Sequence[str] = (JSON_MEDIA_TYPE,)
    dialect: Dialect = NATIVE_DIALECT


@dataclass(slots=True)
class Routes:
    """The routes of one module; the module's attribute `ROUTES`."""

    #: what these routes are about
    tag: str
    listed: list[Route] = field(default_factory=list)
    dialect: Dialect = NATIVE_DIALECT

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
        batches: bool = False,
        socket: bool = False,
        answer_media_type: str = "application/json",
        gate: Gate | None = None,
        body_limit: ChooseBodyLimit = limit_by_body_setting,
        takes_stream: bool = False,
        is_page: bool = False,
        documented: bool = True,
        media_types: Sequence[str] = (JSON_MEDIA_TYPE,),
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated function as a route; the first line of its docstring is the route's summary."""

        def declare_route(handler: Handler) -> Handler:
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
                    batches=batches,
                    socket=socket,
                    answer_media_type=answer_media_type,
                    gate=gate,
                    choose_body_limit=body_limit,
                    takes_stream=takes_stream,
                    is_page=is_page,
                    documented=documented,
                    media_types=media_types,
                    dialect=self.dialect,
                )
            )
            return handler

        return declare_route


def discover_routes() -> list[Route]:
    """Return the routes of all modules in `routes` and `compat`."""
    return [
        route
        for package in ("gateway.api.routes", "gateway.api.compat")
        for module in plugins.discover_modules(package, "ROUTES").values()
        for route in module.listed
    ]
