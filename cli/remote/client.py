"""The client of a running gateway's HTTP API that the commands use.

It finds the gateway by its lock record, and sends the token only to the instance that wrote that record.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from cli import output
from cli.command import current
from cli.instance import Place
from cli.remote import probe, sse
from cli.remote.connection import Connection
from cli.remote.probe import Look, State
from cli.remote.sse import Event
from gateway import errors, paths
from gateway.errors import GatewayError, InternalError, NotRunning, TimedOut, Unauthorized, Unavailable
from gateway.supervisor.address import connect_host

#: seconds that a call may take
CALL = 30.0
#: seconds that a stream may be silent: three heartbeats of the gateway
SILENCE = 45.0
#: seconds that a running gateway may take until it first answers
STARTING = 5.0
#: seconds that a lost gateway may take to come back while a run is followed
RETURN = 60.0
#: seconds between two looks for the gateway
LOOK = 0.2

_T = TypeVar("_T")

#: errors of a broken connection
_BROKEN = (OSError, HTTPException, ValueError)


def connect() -> Client:
    """Return a client of the gateway that the command line names.

    Raises:
        NotRunning: the gateway does not run, or does not answer.
    """
    return Client(Place.of(current().environment))


class Client:
    """Calls one gateway. Opens a connection for each call, so a restart in between does not matter."""

    def __init__(self, instance: Place) -> None:
        self._instance = instance
        self._found = self._find()

    def get(self, path: str, **query: object) -> Any:
        """Call GET. A query value of None is left out.

        Raises:
            GatewayError: the error that the gateway reported.
        """
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Call POST with an idempotency key, so that a second try does no harm."""
        return self._call("POST", path, body, key=secrets.token_hex(16))

    def put(self, path: str, body: Mapping[str, object]) -> Any:
        """Call PUT, which is idempotent."""
        return self._call("PUT", path, body)

    def patch(self, path: str, body: Mapping[str, object]) -> Any:
        """Call PATCH, which is idempotent here."""
        return self._call("PATCH", path, body)

    def delete(self, path: str, **query: object) -> Any:
        return self._call("DELETE", path, query=query)

    def pages(self, path: str, name: str, limit: int, **query: object) -> dict[str, Any]:
        """Return up to `limit` entries of a paged list, as one page."""
        found: list[Any] = []
        cursor = None
        while len(found) < limit:
            page = self.get(path, limit=min(500, limit - len(found)), cursor=cursor, **query)
            found += page[name]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return {name: found, "next_cursor": cursor}

    def begin(self, path: str, body: Mapping[str, object]) -> tuple[str, HTTPResponse]:
        """Submit a run by POST. Returns its id and the stream of its events."""
        key = secrets.token_hex(16)
        response = self._twice(lambda: self._open("POST", path, body, key=key, stream=True))
        return response.headers["X-Run-Id"], response

    def relay(self, path: str, body: bytes, more: Mapping[str, str], take: Callable[[HTTPResponse], _T]) -> _T:
        """Forward the POST of another program, and return its answer whatever the status.

        Args:
            more: additional headers.
            take: reads the answer; called again if the connection breaks meanwhile.
        """
        key = secrets.token_hex(16)

        def send_request() -> _T:
            with self._request("POST", path, body, {**self._headers(body, key, None, True), **more}, SILENCE) as answer:
                return take(answer)

        return self._twice(send_request)

    def follow(self, run: str, tell: Callable[[str], None], opened: HTTPResponse | None = None) -> Iterator[Event]:
        """Yield the events of a run from the first to `end`, also across lost connections and restarts.

        Args:
            run: the full id of the run.
            tell: called with notes for the user.
            opened: a stream of the run that is open already.

        Raises:
            NotRunning: the gateway was lost and did not come back.
        """
        last, pause = 0, LOOK
        while True:
            try:
                response = opened or self._open("GET", _events(run), last=last, stream=True)
                opened = None
                with response:
                    for event in sse.events(response):
                        if event.id is None:
                            continue  # the answer to the request, which repeats `end`
                        last, pause = event.id, LOOK
                        yield event
                        if event.kind == "end":
                            return
            except (*_BROKEN, Unavailable):
                pass
            time.sleep(pause)
            pause = min(2.0, pause * 2)
            self._await_return(run, tell)

    def _await_return(self, run: str, tell: Callable[[str], None]) -> None:
        """Wait until the gateway answers again, after a stream broke."""
        said, deadline = False, time.monotonic() + RETURN
        while (found := probe.look(self._instance)).state is not State.RUNNING:
            if time.monotonic() > deadline:
                raise NotRunning(
                    f"the gateway is gone, and has not come back in {output.duration(RETURN)}.",
                    remedy=f"Start it: gateway start\nThen: gateway tasks watch {run}",
                )
            if not said:
                tell(f"The gateway is gone; waiting {output.duration(RETURN)} for it. The task is kept.")
                said = True
            time.sleep(LOOK)
        self._found = found

    def _find(self, *, lost: bool = False) -> Look:
        """Find the gateway. One that runs, or ran a moment ago if `lost`, gets some time to answer."""
        deadline = time.monotonic() + STARTING
        hopeful = {State.UNRESPONSIVE, State.STOPPED} if lost else {State.UNRESPONSIVE}
        while (found := probe.look(self._instance)).state in hopeful and time.monotonic() < deadline:
            time.sleep(LOOK)
        if found.state is State.RUNNING:
            return found
        if found.record is None:
            raise NotRunning("the gateway is not running.", remedy="Start it: gateway start")
        raise NotRunning(
            f"the gateway (pid {found.record.pid}) does not answer on port {found.record.port}.",
            remedy="It may be starting or stopping. See: gateway logs",
        )

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None, **options: Any) -> Any:
        def send_request() -> Any:
            with self._open(method, path, body, **options) as response:
                return json.loads(response.read())

        return self._twice(send_request)

    def _twice(self, perform: Callable[[], _T]) -> _T:
        """Send a request, and once more if the connection breaks. Every request is safe to send twice."""
        try:
            return perform()
        except TimeoutError as error:
            raise TimedOut(f"the gateway did not answer in {output.duration(CALL)}.") from error
        except _BROKEN:
            self._found = self._find(lost=True)
        try:
            return perform()
        except _BROKEN as error:
            raise Unavailable(f"the connection to the gateway broke: {error}.", remedy="Try again.") from error

    def _open(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        key: str | None = None,
        last: int | None = None,
        stream: bool = False,
    ) -> HTTPResponse:
        """Send one request. Returns the response when its header has arrived.

        Raises:
            GatewayError: the gateway refused the request.
            OSError, HTTPException: the connection broke.
        """
        data = None if body is None else json.dumps({k: v for k, v in body.items() if v is not None}).encode()
        headers = self._headers(data, key, last, stream)
        response = self._request(method, path + _query(query or {}), data, headers, SILENCE if stream else CALL)
        if response.status >= 400:
            with response:
                raise self._refused(response.status, response.read())
        return response

    def _request(
        self, method: str, target: str, data: bytes | None, headers: Mapping[str, str | bytes], timeout: float
    ) -> HTTPResponse:
        record = self._found.record
        assert record is not None
        connection = Connection(connect_host(record.host), record.port, timeout=timeout)
        try:
            connection.request(method, target, data, headers)
            return connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _headers(self, data: bytes | None, key: str | None, last: int | None, stream: bool) -> dict[str, str | bytes]:
        token = self._instance.token
        given: dict[str, str | bytes | None] = {
            "Accept": "text/event-stream" if stream else "application/json",
            "Authorization": None if token is None else f"Bearer {token.value}".encode(),
            "Connection": "close",
            "Content-Type": None if data is None else "application/json",
            "Idempotency-Key": key,
            "Last-Event-ID": None if last is None else str(last),
            # Set if an agent runs this command: how deep its run is in a chain of calls.
            "X-Moongate-Depth": self._instance.env.get("MOONGATE_DEPTH"),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _refused(self, status: int, data: bytes) -> GatewayError:
        """Return the error in an answer."""
        try:
            told = json.loads(data)["error"]
            code, message, details = str(told["code"]), str(told["message"]), told.get("details")
            if "data" in told:  # JSON-RPC, whose codes are numbers
                code = str(told["data"]["code"])
        except (ValueError, TypeError, KeyError):
            return GatewayError(
                f"the gateway answered {status}, in a form that is not its own. A proxy may be in between."
            )
        if code == Unauthorized.code:
            return self._unauthorized()
        return _KINDS.get(code, InternalError)(message, details=details)

    def _unauthorized(self) -> Unauthorized:
        token, file = self._instance.token, paths.token(self._instance.home)
        if token is None:
            return Unauthorized("the gateway needs a token, and none was found.", remedy="Set MOONGATE_TOKEN.")
        what = (
            "Does it belong to another gateway?"
            if token.source.endswith(str(file))
            else f"The right one may be in {file}."
        )
        return Unauthorized(f"the gateway refuses the token from {token.source}.", remedy=what)


def part(text: str) -> str:
    """Return a text quoted as one segment of a path."""
    return quote(text, safe="")


def _events(run: str) -> str:
    return f"/api/tasks/{part(run)}/events"


def _query(values: Mapping[str, object]) -> str:
    given = {name: "true" if value is True else value for name, value in values.items() if value not in (None, False)}
    return f"?{urlencode(given)}" if given else ""


def _kinds(of: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from _kinds(kind)


#: error classes by their code in the HTTP API; of two with one code, the one declared first
_KINDS = {kind.code: kind for kind in reversed([*_kinds(GatewayError)]) if kind.__module__ == errors.__name__}
