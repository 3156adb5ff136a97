"""HTTP calls to an opencode server of any version; each has a timeout, and a limit for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct, field

from gateway.backends.opencode.data_urls import FileUrl, UrlCutter
from gateway.errors import AgentError
from gateway.json_data import surrogates
from gateway.json_data.split_json import SplitJson

T = TypeVar("T")

#: seconds that a call may take; opencode prepares a directory during the first call that needs it
API_CALL_TIMEOUT_SECONDS = 30.0
#: bytes of an answer, at most
MAX_OPENCODE_ANSWER_BYTES = 8 * 1024 * 1024
#: bytes of an answer with the whole content of files; without it, an answer has none
MAX_ANSWER_WITH_FILES_BYTES = 40_000_000
#: seconds between tries of a GET whose connection was cut
READ_RETRY_SECONDS = (0.1, 0.4)


class ServerGone(AgentError):
    """The opencode server does not answer."""


class ConnectionCut(ServerGone):
    """The connection to the opencode server was cut."""


class RequestRefused(AgentError):
    """opencode refused a request."""

    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        #: the HTTP status of the answer
        self.http_status = http_status


class RouteMissing(AgentError):
    """The server has no such route: opencode answers with its web page, and with status 200."""


class Answer(NamedTuple):
    """An answer of the server."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    def read_as(self, kind: type[T] | None, path: str) -> T:
        """Return the answer to a request of `path`, decoded; None if the caller wants none.

        Raises:
            RequestRefused: it tells an error.
            RouteMissing: it is a web page.
            AgentError: it has another form.
        """
        if self.status == 401:
            raise RequestRefused("opencode refused the password.", self.status)
        if self.status >= 400:
            raise RequestRefused(
                f"opencode answered {self.status} to {path}: {_read_complaint(self.data)}.", self.status
            )
        if self.headers.get("Content-Type", "").startswith("text/html"):
            raise RouteMissing(f"this version of opencode has no {path}: it answers with its web page.")
        if kind is None:
            return None  # type: ignore[return-value]  # the caller wants no answer
        try:
            return msgspec.json.decode(surrogates.replace_lone_surrogates(self.data), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AgentError(f"opencode's answer to {path} cannot be read: {error}.") from error


class ServerCalls:
    """Calls to one server, with its password."""

    def __init__(self, base: str, password: str | None) -> None:
        headers = {}
        if password:
            headers["Authorization"] = aiohttp.encode_basic_auth("opencode", password)
        self.base = base
        # No redirect or proxy is followed: either would send the password elsewhere.
        self._http = aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0))

    async def close(self) -> None:
        await self._http.close()

    def open_stream(self, path: str, silence: float) -> aiohttp.client._RequestContextManager:
        """Open a stream of events; it ends after `silence` seconds without a byte."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
        return self._http.get(self.base + path, timeout=timeout, allow_redirects=False)

    async def send_request(
        self,
        kind: type[T] | None,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        within: float = API_CALL_TIMEOUT_SECONDS,
        with_files: bool = False,
    ) -> T:
        """Send a request, and return its answer as a `kind`; None drops the answer.

        Args:
            within: seconds for all of it.
            with_files: whether the answer keeps the content of files, and may be as large as that needs.

        Raises:
            AgentError: as `Answer.read_as`, or the server does not answer within `within` seconds.
        """
        answer = await self.fetch_answer(method, path, query=query, body=body, within=within, with_files=with_files)
        return answer.read_as(kind, path)

    async def fetch_answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        within: float = API_CALL_TIMEOUT_SECONDS,
        with_files: bool = False,
    ) -> Answer:
        for pause in READ_RETRY_SECONDS if method == "GET" else ():
            try:
                return await self._call_once(method, path, query or {}, body, within, with_files)
            except ConnectionCut:
                await asyncio.sleep(pause)
        return await self._call_once(method, path, query or {}, body, within, with_files)

    async def _call_once(
        self, method: str, path: str, query: Mapping[str, str], body: Any, within: float, with_files: bool
    ) -> Answer:
        if self._http.closed:
            raise ServerGone("opencode is gone.")
        limit = MAX_ANSWER_WITH_FILES_BYTES if with_files else MAX_OPENCODE_ANSWER_BYTES
        sent: dict[str, Any] = {}
        if body is not None:
            sent = {
                "data": SplitJson(body, FileUrl).stream(FileUrl.read),
                "headers": {"Content-Type": "application/json"},
            }
        try:
            async with (
                asyncio.timeout(within),
                self._http.request(method, self.base + path, params=query, allow_redirects=False, **sent) as answer,
            ):
                data, cutter = bytearray(), UrlCutter()
                async for piece in answer.content.iter_chunked(64 * 1024):
                    data += piece if with_files else cutter.feed(piece)
                    if len(data) > limit:
                        raise AgentError(f"opencode's answer is larger than {limit >> 20} MiB.")
                return Answer(answer.status, answer.headers, bytes(data + cutter.finish()))
        except TimeoutError as error:
            raise ServerGone(f"opencode did not answer {path} within {within:g} s.") from error
        except aiohttp.ClientError as error:
            raise ConnectionCut(f"opencode does not answer at {self.base}: {error}.") from error


def quote_segment(name: str) -> str:
    """Quote a name for a path."""
    return quote(name, safe="")


class _ComplaintData(Struct):
    message: str = ""


class _Complaint(Struct):
    """An error of version 1, `{"name", "data": {"message"}}`, or of version 2, `{"_tag", "message"}`."""

    name: str = ""
    data: _ComplaintData = field(default_factory=_ComplaintData)
    tag: str = field(default="", name="_tag")
    message: str = ""


def _read_complaint(data: bytes) -> str:
    try:
        said = msgspec.json.decode(data, type=_Complaint)
        text = (said.data.message or said.message).partition("\n")[0] or said.name or said.tag
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = data[:200].decode("utf-8", "replace").strip()
    return text.rstrip(".") or "no reason given"
