"""The client of a running gateway's HTTP API that the commands use, on this machine or elsewhere."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import gateway
from cli import output
from cli.command import complete_commands
from cli.remote import sse
from cli.remote.link import Link, open_link
from cli.remote.local_link import RECONNECT_POLL_SECONDS
from cli.remote.sse import Event
from gateway import errors
from gateway.domain.trace import read_traceparent
from gateway.errors import (
    AgentUnusable,
    GatewayError,
    InternalError,
    InvalidRequest,
    TimedOut,
    Unauthorized,
    Unavailable,
)

#: seconds that a call may take
CLIENT_CALL_TIMEOUT_SECONDS = 30.0
#: seconds that a stream may be silent: three heartbeats of the gateway
STREAM_SILENCE_SECONDS = 45.0
#: seconds that a lost gateway may take to come back while a run is followed
RETURN_TIMEOUT_SECONDS = 60.0
#: bytes of a file that are read at once
FILE_PIECE_BYTES = 256 << 10

_T = TypeVar("_T")

#: errors of a broken connection
_CONNECTION_ERRORS = (OSError, HTTPException, ValueError)


def connect_to_gateway() -> GatewayClient:
    """Return a client of the gateway that the command line names.

    Raises:
        NotRunning: the gateway does not run, or does not answer.
    """
    return GatewayClient(open_link())


class GatewayClient:
    """Calls one gateway. Opens a connection for each call, so a restart in between does not matter."""

    def __init__(self, link: Link) -> None:
        self._link = link
        link.find_gateway()

    def get(self, path: str, **query: object) -> Any:
        """Call GET. A query value of None is left out.

        Raises:
            GatewayError: the error that the gateway reported.
        """
        return self._call_json("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Call POST with an idempotency key, so that a second try does no harm."""
        return self._call_json("POST", path, body, key=secrets.token_hex(16))

    def put(self, path: str, body: Mapping[str, object]) -> Any:
        """Call PUT, which is idempotent."""
        return self._call_json("PUT", path, body)

    def patch(self, path: str, body: Mapping[str, object]) -> Any:
        """Call PATCH, which is idempotent here."""
        return self._call_json("PATCH", path, body)

    def delete(self, path: str, **query: object) -> Any:
        return self._call_json("DELETE", path, query=query)

    def get_pages(self, path: str, name: str, limit: int, **query: object) -> dict[str, Any]:
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

    def make_url(self, path: str) -> str:
        """Return the URL of a path for programs on this machine."""
        return self._link.make_url(path)

    @property
    def link(self) -> Link:
        """The way to the gateway."""
        return self._link

    def check_host(self, host: str) -> None:
        """Ask the gateway for something under another host name, as a browser elsewhere would.

        Args:
            host: with the port, if there is one.

        Raises:
            GatewayError: the gateway does not answer for that host.
        """

        def send_request() -> None:
            with self._send_request(
                "GET", "/livez", None, {"Host": host, "Connection": "close"}, CLIENT_CALL_TIMEOUT_SECONDS
            ) as answer:
                data = answer.read()
                if answer.status >= 400:
                    raise self._read_error(answer.status, data)

        self._retry_once(send_request)

    def open_stream(self, path: str, **query: object) -> HTTPResponse:
        """Open a stream of events by GET, which ends with the serving process."""
        return self._retry_once(lambda: self._open_response("GET", path, query=query, stream=True))

    def start_run(self, path: str, body: Mapping[str, object]) -> tuple[str, HTTPResponse]:
        """Submit a run by POST. Returns its id and the stream of its events."""
        key = secrets.token_hex(16)
        response = self._retry_once(lambda: self._open_response("POST", path, body, key=key, stream=True))
        return response.headers["X-Run-Id"], response

    def upload_file(self, name: str, content: BinaryIO, size: int, show: Callable[[int], None]) -> Any:
        """Store a file by POST, once. It is never in memory whole.

        Args:
            content: what can be read again from its beginning, and has at least `size` bytes.
            show: called with the number of bytes that are sent so far.

        Returns the answer.
        """
        headers = self._build_headers(None, secrets.token_hex(16), None, False)
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        target = f"/api/files{_build_query({'name': name})}"

        def send() -> Any:
            content.seek(0)
            pieces = _read_pieces(content, size, show)
            with self._send_request("POST", target, pieces, headers, CLIENT_CALL_TIMEOUT_SECONDS) as answer:
                data = answer.read()
                if answer.status >= 400:
                    raise self._read_error(answer.status, data)
                return json.loads(data)

        return self._retry_once(send)

    def download_file(self, id_: str, take: Callable[[bytes], None]) -> None:
        """Read the content of a file; if the connection breaks, go on from where it broke.

        Args:
            take: called with each piece; raises no error of a broken connection.
        """
        received = 0

        def receive() -> None:
            nonlocal received
            path = f"/api/files/{quote_part(id_)}"
            with self._open_response("GET", path, start=received) as answer:
                while piece := answer.read1(FILE_PIECE_BYTES):
                    received += len(piece)
                    take(piece)
                if answer.length:
                    raise IncompleteRead(b"", answer.length)

        self._retry_once(receive)

    def relay_post(self, path: str, body: bytes, more: Mapping[str, str], take: Callable[[HTTPResponse], _T]) -> _T:
        """Forward the POST of another program, and return its answer whatever the status.

        Args:
            more: additional headers.
            take: reads the answer; called again if the connection breaks meanwhile.
        """
        key = secrets.token_hex(16)

        def send_request() -> _T:
            with self._send_request(
                "POST", path, body, {**self._build_headers(body, key, None, True), **more}, STREAM_SILENCE_SECONDS
            ) as answer:
                return take(answer)

        return self._retry_once(send_request)

    def follow_events(
        self, run: str, tell: Callable[[str], None], opened: HTTPResponse | None = None
    ) -> Iterator[Event]:
        """Yield the events of a run from the first to `end`, also across lost connections and restarts.

        Args:
            run: the full id of the run.
            tell: called with notes for the user.
            opened: a stream of the run that is open already.

        Raises:
            NotRunning: the gateway was lost and did not come back.
        """
        last, pause = 0, RECONNECT_POLL_SECONDS
        while True:
            try:
                response = opened or self._open_response("GET", _events_path(run), last=last, stream=True)
                opened = None
                with response:
                    for event in sse.read_events(response):
                        if event.id is None:
                            continue  # the answer to the request, which repeats `end`
                        last, pause = event.id, RECONNECT_POLL_SECONDS
                        yield event
                        if event.kind == "end":
                            return
            except (*_CONNECTION_ERRORS, Unavailable):
                pass
            time.sleep(pause)
            pause = min(2.0, pause * 2)
            self._await_return(run, tell)

    def _await_return(self, run: str, tell: Callable[[str], None]) -> None:
        """Wait until the gateway answers again, after a stream broke."""
        said, deadline = False, time.monotonic() + RETURN_TIMEOUT_SECONDS
        while not self._link.is_answering():
            duration = output.format_duration(RETURN_TIMEOUT_SECONDS)
            if time.monotonic() > deadline:
                raise self._link.explain_loss(run, duration)
            if not said:
                tell(f"The gateway is gone; waiting {duration} for it. The task is kept.")
                said = True
            time.sleep(RECONNECT_POLL_SECONDS)

    def _call_json(self, method: str, path: str, body: Mapping[str, object] | None = None, **options: Any) -> Any:
        def send_request() -> Any:
            with self._open_response(method, path, body, **options) as response:
                return json.loads(response.read())

        return self._retry_once(send_request)

    def _retry_once(self, perform: Callable[[], _T]) -> _T:
        """Send a request, and once more if the connection breaks. Every request is safe to send twice."""
        try:
            return perform()
        except TimeoutError as error:
            raise TimedOut(
                f"the gateway did not answer in {output.format_duration(CLIENT_CALL_TIMEOUT_SECONDS)}."
            ) from error
        except _CONNECTION_ERRORS:
            self._link.find_gateway(lost=True)
        try:
            return perform()
        except _CONNECTION_ERRORS as error:
            raise self._link.explain_break(error) from error

    def _open_response(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        key: str | None = None,
        last: int | None = None,
        stream: bool = False,
        start: int = 0,
    ) -> HTTPResponse:
        """Send one request. Returns the response when its header has arrived.

        Args:
            start: how many bytes of the content to leave out.

        Raises:
            GatewayError: the gateway refused the request.
            OSError, HTTPException: the connection broke.
        """
        data = None if body is None else json.dumps({k: v for k, v in body.items() if v is not None}).encode()
        headers = self._build_headers(data, key, last, stream)
        if start:
            headers["Range"] = f"bytes={start}-"
        response = self._send_request(
            method,
            path + _build_query(query or {}),
            data,
            headers,
            STREAM_SILENCE_SECONDS if stream else CLIENT_CALL_TIMEOUT_SECONDS,
        )
        if response.status >= 400:
            with response:
                raise self._read_error(response.status, response.read())
        return response

    def _send_request(
        self,
        method: str,
        target: str,
        data: bytes | Iterator[bytes] | None,
        headers: Mapping[str, str | bytes],
        timeout: float,
    ) -> HTTPResponse:
        connection = self._link.connect(timeout)
        try:
            connection.request(method, self._link.path_prefix + target, data, headers)
            response = connection.getresponse()
            if 300 <= response.status < 400:
                raise _refuse_redirect(self._link.make_url(""), response)
            return response
        except BaseException:
            connection.close()
            raise

    def _build_headers(
        self, data: bytes | None, key: str | None, last: int | None, stream: bool
    ) -> dict[str, str | bytes]:
        token = self._link.access_token
        given: dict[str, str | bytes | None] = {
            "Accept": "text/event-stream" if stream else "application/json",
            "Authorization": None if token is None else f"Bearer {token.value}".encode(),
            "Connection": "close",
            "Content-Type": None if data is None else "application/json",
            "Idempotency-Key": key,
            "Last-Event-ID": None if last is None else str(last),
            "User-Agent": f"gateway/{gateway.__version__}",
            # Set if an agent runs this command: how deep its run is in a chain of calls.
            "X-Moongate-Depth": self._link.env.get("MOONGATE_DEPTH"),
            # Set if what runs this command is traced: https://www.w3.org/TR/trace-context/
            "traceparent": read_traceparent(self._link.env.get("TRACEPARENT")),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _read_error(self, status: int, data: bytes) -> GatewayError:
        """Return the error in an answer."""
        try:
            told = json.loads(data)["error"]
            code, message, details = str(told["code"]), str(told["message"]), told.get("details")
            if "data" in told:  # JSON-RPC, whose codes are numbers
                code = str(told["data"]["code"])
        except (ValueError, TypeError, KeyError):
            return _explain_foreign_answer(status)
        if code == Unauthorized.code:
            return self._link.explain_unauthorized()
        if (details or {}).get("reason") == AgentUnusable.REASON:
            return AgentUnusable(complete_commands(message, self._link.env))
        return _ERRORS_BY_CODE.get(code, InternalError)(complete_commands(message, self._link.env), details=details)


def quote_part(text: str) -> str:
    """Return a text quoted as one segment of a path."""
    return quote(text, safe="")


def _refuse_redirect(base: str, response: HTTPResponse) -> GatewayError:
    """Return the error for a redirect, which is not followed: the token is for the address that was given."""
    to = urlsplit(response.headers.get("Location", ""))
    there = f"{to.scheme}://{to.netloc}" if to.scheme in ("http", "https") and to.netloc else ""
    remedy = f"If that is the gateway, name it: --url {there}" if there else "Name the address of the gateway itself."
    return GatewayError(
        f"{base} redirects to {there or 'another path'} ({response.status}), and the token does not go along.",
        remedy=remedy,
    )


def _explain_foreign_answer(status: int) -> GatewayError:
    """Return the error for an answer that no gateway gives."""
    said = f"the gateway answered {status}, in a form that is not its own."
    if status in (502, 503, 504):
        return Unavailable(
            f"{said} A proxy in between does not reach it.", remedy="Does the gateway run behind the proxy?"
        )
    return GatewayError(f"{said} A proxy may be in between.")


def _read_pieces(content: BinaryIO, size: int, show: Callable[[int], None]) -> Iterator[bytes]:
    """Yield so many bytes of a file.

    Raises:
        InvalidRequest: it cannot be read, or has fewer.
    """
    left = size
    while left:
        show(size - left)
        try:
            piece = content.read(min(left, FILE_PIECE_BYTES))
        except OSError as error:  # not one of the connection
            raise InvalidRequest(f"the file cannot be read: {error.strerror}.") from error
        if not piece:
            raise InvalidRequest("the file became shorter while it was sent.", remedy="Try again.")
        left -= len(piece)
        yield piece


def _events_path(run: str) -> str:
    return f"/api/tasks/{quote_part(run)}/events"


def _build_query(values: Mapping[str, object]) -> str:
    given = {name: "true" if value is True else value for name, value in values.items() if value not in (None, False)}
    return f"?{urlencode(given)}" if given else ""


def _list_subclasses(of: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from _list_subclasses(kind)


#: error classes by their code in the HTTP API; of two with one code, the one declared first
_ERRORS_BY_CODE = {
    kind.code: kind for kind in reversed([*_list_subclasses(GatewayError)]) if kind.__module__ == errors.__name__
}
