"""The HTTP server: every request passes the same checks in the same order before its route handles it.

First come the limits of `connection.py`; then Host, Origin, token, scope, the body's type and length, and
strict JSON that fits the route's type.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from msgspec import Struct

from gateway import log
from gateway.api import body, errors, reply
from gateway.api.auth import RENEWED_COOKIE, RequestGuard
from gateway.api.connection import LimitedRunner, LimitedServer
from gateway.api.routing import (
    NATIVE_DIALECT,
    Call,
    Dialect,
    Route,
    ServerContext,
    discover_routes,
    limit_by_body_setting,
)
from gateway.domain import trace
from gateway.domain.actor import CURRENT_ACTOR
from gateway.domain.token import Scope
from gateway.engine.execution import caller
from gateway.engine.resources.principal import Principal
from gateway.errors import (
    GatewayError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unavailable,
)

_log = log.get()
_NO_PRINCIPAL = Principal("nobody", Scope.READ)

#: seconds that answers may take after the runs that they waited for were interrupted
LAST_ANSWERS_SECONDS = 2.0

#: connections that the kernel may queue until they are accepted
ACCEPT_BACKLOG = 1024
#: connections that are accepted in one turn of the event loop. When no file descriptor is free, asyncio fails that
#: many times each second and logs each failure; more would keep it busy with nothing else:
#: https://github.com/python/cpython/issues/151615
MAX_ACCEPTS_PER_TURN = 64
#: seconds until accepted connections have a handler; closing the listener earlier would drop them
ACCEPTED_CONNECTIONS_SETTLE_SECONDS = 0.02
#: seconds that idle connections stay open when the gateway stops, and when it hands over to another process
STOP_IDLE_GRACE_SECONDS, HANDOVER_IDLE_GRACE_SECONDS = 0.1, 3.0

#: bytes of a body that is parsed in a thread
LARGE_BODY_BYTES = 256 * 1024

_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}

#: common headers that files and pages have with another value
_HEADERS_OF_FILES = (hdrs.CACHE_CONTROL, "Content-Security-Policy")

_REQUEST_ID = web.RequestKey("id", str)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiServer:
    """Serves the API on a given socket until `close`."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        gateway = context.config.gateway
        self._bouncer = RequestGuard(
            context.engine.tokens,
            allowed_hosts=gateway.allowed_hosts,
            cors_origins=gateway.cors_origins,
            trusted_proxies=context.config.trusted_networks,
            count_refusal=context.engine.audit.count_refusal,
            public_url=context.config.public_url,
        )
        app = web.Application(middlewares=[self._handle_request])
        app.on_response_prepare.append(self._add_common_headers)
        self._dialects: dict[_Handler, Dialect] = {}
        #: the handlers of pages
        self._pages: set[_Handler] = set()
        #: dialects by the beginning of a path: for unknown paths, and for methods that a path does not take
        self._homes: dict[str, Dialect] = {}
        for route in discover_routes():
            path = re.sub(r"{(\w+)}", r"{\1:[^/]+}", route.path)  # aiohttp's default pattern excludes braces
            handler = self._make_handler(route)
            self._dialects[handler] = route.dialect
            if route.is_page:
                self._pages.add(handler)
            if route.dialect is not NATIVE_DIALECT:
                self._homes[route.path.partition("/{")[0]] = route.dialect
                self._homes[route.dialect.path_prefix or route.path] = route.dialect
            if route.method == "GET" and not (route.streams or route.socket):
                app.router.add_get(path, handler, allow_head=True, expect_handler=body.defer_expect_continue)
            else:
                app.router.add_route(route.method, path, handler, expect_handler=body.defer_expect_continue)
        self._runner = LimitedRunner(app, context.config.limits, self._bouncer.is_trusted_proxy, shutdown_timeout=1.0)
        self._site: web.SockSite | None = None
        #: make the ids of requests
        self._prefix, self._numbers = secrets.token_hex(5), itertools.count(1)
        self._bodies = body.IncomingBodies()
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._hurried = asyncio.Event()

    async def start_serving(self, listener: socket.socket) -> None:
        """Begin to accept connections on a bound socket. The caller keeps the socket: a copy of it is used."""
        await self._runner.setup()
        # All copies of a socket share its blocking mode, even copies in other processes. A copy of a blocking socket
        # would make them all block for a moment, and another process that accepts would hang.
        listener.setblocking(False)
        self._listener = listener.dup()
        self._site = self._make_site()
        await self._site.start()
        self._listener.listen(ACCEPT_BACKLOG)

    def _make_site(self) -> web.SockSite:
        if self._context.certificate is None:
            return web.SockSite(self._runner, self._listener, backlog=MAX_ACCEPTS_PER_TURN)
        from gateway.api.tls_site import TlsSite  # late: few gateways speak TLS

        return TlsSite(self._runner, self._listener, self._context.certificate, backlog=MAX_ACCEPTS_PER_TURN)

    async def stop_accepting(self) -> None:
        """Accept no more connections, and end streams: their clients reconnect to the next serving process."""
        site, self._site = self._site, None
        if site is not None:
            with contextlib.suppress(NotImplementedError):  # the event loop of Windows has no readers
                asyncio.get_running_loop().remove_reader(self._listener)
            await asyncio.sleep(ACCEPTED_CONNECTIONS_SETTLE_SECONDS)
            await site.stop()
        self._context.closing.set()

    async def close(self, grace: float, drain: Callable[[float], Awaitable[None]], *, handed_over: bool) -> None:
        """Close after requests and runs had `grace` seconds to finish.

        Args:
            drain: lets the engine's runs finish within the given seconds.
            handed_over: whether another process works on queued runs; only then can requests that wait for
                those be answered in time.
        """
        await self.stop_accepting()
        until = asyncio.get_running_loop().time() + grace
        if handed_over:
            await self._wait_for_requests(grace)
        await drain(max(0.0, until - asyncio.get_running_loop().time()))
        await self._wait_for_requests(LAST_ANSWERS_SECONDS)
        await self._wait_for_connections(HANDOVER_IDLE_GRACE_SECONDS if handed_over else STOP_IDLE_GRACE_SECONDS)
        await self._runner.cleanup()

    def skip_grace(self) -> None:
        """Stop waiting for requests."""
        self._hurried.set()

    async def _wait_for_connections(self, seconds: float) -> None:
        """Wait until clients have closed their connections; those that send one more request are told to close."""
        server = self._runner.server
        assert isinstance(server, LimitedServer)
        until = asyncio.get_running_loop().time() + seconds
        while (server.connections or server.handshakes) and asyncio.get_running_loop().time() < until:
            if self._hurried.is_set():
                return
            await asyncio.sleep(0.01)

    async def _wait_for_requests(self, seconds: float) -> None:
        waits = [asyncio.create_task(self._quiet.wait()), asyncio.create_task(self._hurried.wait())]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    # --- one request ------------------------------------------------------------------------

    @web.middleware
    async def _handle_request(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Give the request an id, and answer errors in the shape of its route."""
        identifier = request[_REQUEST_ID] = f"{self._prefix}{next(self._numbers):06x}"
        request[RENEWED_COOKIE] = ""
        self._count_request_in()
        log.bind(request=identifier)
        try:
            return await self._check_request(request, handler)
        except GatewayError as error:
            return self._answer_error(request, error)
        except web.HTTPException as error:
            return self._answer_error(request, _translate_http_error(error))
        except ConnectionError:
            raise
        except Exception:
            _log.exception("http.broke", method=request.method, path=request.path[:256])
            if request.writer.output_size > 0:
                raise ConnectionResetError("the answer has already begun") from None
            return self._answer_error(request, InternalError(details={"request_id": identifier}))
        finally:
            self._count_request_out()

    async def _check_request(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        self._bouncer.check_host(request)
        self._bouncer.check_origin(request, is_page=request.match_info.handler in self._pages)
        if request.method == "OPTIONS" and request.headers.get("Origin") in self._bouncer.cors_origins:
            return web.Response(status=204, headers=_PREFLIGHT_HEADERS)
        if request.match_info.http_exception is not None:
            self._bouncer.identify_caller(request)  # only a caller with a token may learn which paths exist
        return await handler(request)

    def _make_handler(self, route: Route) -> _Handler:
        """Return the function that makes the remaining checks of a route and calls its handler."""
        limits = self._context.config.limits

        async def check_and_serve(request: web.Request) -> web.StreamResponse:
            principal = _NO_PRINCIPAL
            if route.scope is not None:
                principal = await self._identify_caller(request, route)
                self._bouncer.check_scope(request, principal, route.scope)
            query = body.parse_query(request, route.query)
            if route.scope is None:
                with self._bouncer.count_failed_attempt(request):
                    return await read_and_serve(request, principal, query)
            return await read_and_serve(request, principal, query)

        async def read_and_serve(request: web.Request, principal: Principal, query: Struct) -> web.StreamResponse:
            if route.gate is not None:
                route.gate(request, self._context)
            counted = self._bodies.open_count()
            try:
                call = await read_call(request, principal, query, counted)
                self._note_caller(call)
                answer = await route.handler(call)
            finally:
                counted.close()
            if isinstance(answer, web.StreamResponse):
                return answer
            return reply.json_response(answer, route.status, call.headers)

        async def read_call(
            request: web.Request, principal: Principal, query: Struct, counted: body.BodyCount
        ) -> Call[Any, Any]:
            data = b""
            if not route.takes_stream:
                limit = route.choose_body_limit(request, self._context)
                data = await body.read_body(request, limit, limits.body_seconds, counted, types=route.media_types)
            is_large = len(data) > LARGE_BODY_BYTES
            parsed = await asyncio.to_thread(_parse_body, data, route) if is_large else _parse_body(data, route)
            if route.choose_body_limit is limit_by_body_setting or not getattr(parsed, "attachments", True):
                counted.close()  # it has no files: others are counted until they are on disk
            return Call(
                request,
                route,
                self._context,
                id=request[_REQUEST_ID],
                principal=principal,
                classify_caller=self._bouncer.classify_caller,
                body=parsed,
                query=query,
                body_size=len(data),
                counted=counted,
            )

        return check_and_serve

    def _note_caller(self, call: Call[Any, Any]) -> None:
        """Note who submits the runs that the request submits."""
        caller.CALLER_DEPTH.set(call.nesting_depth)
        principal = None if call.principal is _NO_PRINCIPAL else call.principal
        caller.CALLER_NAME.set(None if principal is None else principal.name)
        CURRENT_ACTOR.set(self._bouncer.name_actor(call.request, principal))
        # Senders of webhooks have traces of their own, and must not decide what is traced here.
        if self._context.config.tracing.enabled and principal is not None:
            caller.CALLER_TRACE.set(trace.read_traceparent(call.request.headers.get(trace.TRACEPARENT_VARIABLE)))

    async def _identify_caller(self, request: web.Request, route: Route) -> Principal:
        if route.socket and "ticket" in request.query and "Authorization" not in request.headers:
            caller = await self._bouncer.redeem_ticket(request, request.query["ticket"])
            self._bouncer.note_use(request, caller)
            return caller
        caller = self._bouncer.identify_caller(request, route.dialect.bearer_header)
        await self._bouncer.record_use(request, caller)
        return caller

    async def _add_common_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers of every answer."""
        headers = response.headers
        for name, value in errors.build_common_headers(request.get(_REQUEST_ID, "")).items():
            if not (name in _HEADERS_OF_FILES and name in headers):
                headers[name] = value
        if cookie := request.get(RENEWED_COOKIE):
            headers.setdefault(hdrs.SET_COOKIE, cookie)
        origin = request.headers.get("Origin")
        if origin in self._bouncer.cors_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "X-Request-Id, X-Run-Id, Retry-After"
            response.headers["Vary"] = ", ".join(filter(None, [response.headers.get("Vary"), "Origin"]))
        if self._context.closing.is_set and response.status != 101:  # a WebSocket sends its own close frame
            # aiohttp has already decided on the header: without both lines, keep-alive clients are reset.
            response.headers["Connection"] = "close"
            response.force_close()

    def _answer_error(self, request: web.Request, error: GatewayError) -> web.Response:
        dialect = self._dialects.get(request.match_info.handler) or self._nearest_dialect(request.path)
        response = reply.json_response(dialect.render_error(error), error.status)
        if isinstance(error, Unauthorized):
            response.headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, (RateLimited, Unavailable)):
            response.headers["Retry-After"] = str(error.details.get("retry_after", 1))
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = str(error.details.get("allow", ""))
        if "run_id" in error.details:
            response.headers["X-Run-Id"] = str(error.details["run_id"])
        if not request.content.is_eof():
            response.force_close()  # the unread rest of the body would be taken for the next request
        return response

    def _nearest_dialect(self, path: str) -> Dialect:
        """Return the dialect of the routes whose path is the longest beginning of this path."""
        while path:
            if path in self._homes:
                return self._homes[path]
            path = path.rpartition("/")[0]
        return NATIVE_DIALECT

    def _count_request_in(self) -> None:
        self._busy += 1
        self._quiet.clear()

    def _count_request_out(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._quiet.set()


def _parse_body(data: bytes, route: Route) -> Any:
    """Return a body as the handler of its route wants it."""
    if route.gate is not None:
        return data
    return body.parse_body_or_batch(data, route.body) if route.batches else body.parse_body(data, route.body)


def _translate_http_error(error: web.HTTPException) -> GatewayError:
    """Return our error for an error of aiohttp."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(f"this path only takes {allowed}.", details={"allow": allowed})
    if error.status == 404:
        return NotFound("there is nothing at this path.", remedy="GET /openapi.json lists all paths.")
    if error.status == 413:
        return TooLarge()
    return InvalidRequest(f"{error.reason}.") if error.status < 500 else InternalError()
