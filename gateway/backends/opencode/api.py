"""The HTTP calls to an opencode server; each has a timeout, and a limit for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from gateway import surrogates
from gateway.backends.opencode import wire
from gateway.errors import AgentError

T = TypeVar("T")

#: seconds that a call may take; opencode prepares a directory during the first call that needs it
API_CALL_TIMEOUT_SECONDS = 30.0
#: bytes of an answer, at most
MAX_OPENCODE_ANSWER_BYTES = 8 * 1024 * 1024
#: messages in one page
MESSAGES_PER_PAGE = 8
#: seconds between tries of a GET whose connection was cut
READ_RETRY_SECONDS = (0.1, 0.4)

#: permissions denied in every session: with them an agent would wait for the answer of a person
_UNATTENDED_PERMISSIONS = [
    {"permission": name, "pattern": "*", "action": "deny"} for name in ("question", "plan_enter", "plan_exit")
]


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


class OpencodeApi:
    """The calls to one server, with its password."""

    def __init__(self, base: str, password: str | None) -> None:
        headers = {}
        if password:
            headers["Authorization"] = aiohttp.encode_basic_auth("opencode", password)
        self.base = base
        # No redirect or proxy is followed: either would send the password elsewhere.
        self._http = aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0))

    async def close(self) -> None:
        await self._http.close()

    async def read_health(self, within: float) -> wire.Health:
        return await self._send_request(wire.Health, "GET", "/global/health", within=within)

    def open_events(self, silence: float) -> aiohttp.client._RequestContextManager:
        """Open the stream of all events; it ends after `silence` seconds without a byte."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
        return self._http.get(f"{self.base}/global/event", timeout=timeout, allow_redirects=False)

    async def create_session(self, directory: str, title: str) -> wire.Session:
        # Without a title, opencode asks the model for one: an extra call that costs money.
        body = {"title": title, "permission": _UNATTENDED_PERMISSIONS}
        return await self._send_request(wire.Session, "POST", "/session", directory=directory, body=body)

    async def read_session(self, session: str) -> wire.Session:
        if not session.startswith("ses"):
            # opencode answers 500 to an id of another form
            raise RequestRefused(f"{session[:40]!r} is not an id of an opencode session.", 404)
        return await self._send_request(wire.Session, "GET", f"/session/{_quote_segment(session)}")

    async def list_helper_sessions(self, session: wire.Session) -> Sequence[wire.Session]:
        """Return the sessions that an agent opened for its helpers."""
        return await self._send_request(list[wire.Session], "GET", f"{_session_path(session)}/children")

    async def is_busy(self, session: wire.Session) -> bool:
        """Tell whether a session is at work. The server knows that only with the session's directory."""
        directory = session.directory
        states = await self._send_request(dict[str, wire.SessionStatus], "GET", "/session/status", directory=directory)
        return session.id in states and states[session.id].type != "idle"

    async def send_prompt(self, session: wire.Session, body: Mapping[str, Any]) -> None:
        await self._send_request(None, "POST", f"{_session_path(session)}/prompt_async", body=body)

    async def abort_session(self, session: wire.Session, within: float) -> None:
        await self._send_request(None, "POST", f"{_session_path(session)}/abort", within=within)

    async def find_newest_message(self, session: wire.Session) -> str | None:
        """Return the id of the newest message; None if there is none."""
        found, _ = await self._read_messages(session, 1, None)
        return found[-1].info.id if found else None

    async def read_messages_after(self, session: wire.Session, mark: str | None) -> Sequence[wire.Message]:
        """Return the messages after the one with the id `mark`, oldest first.

        Raises:
            AgentError: they are too large to be read.
        """
        found: list[wire.Message] = []
        cursor = None
        size = 0
        while True:
            page, cursor = await self._read_messages(session, MESSAGES_PER_PAGE, cursor)
            # Ids grow with time, so the marked message itself need not exist any more.
            fresh = [message for message in page if mark is None or message.info.id > mark]
            found = [*fresh, *found]
            size += sum(len(part.text) for message in fresh for part in message.parts)
            if size > MAX_OPENCODE_ANSWER_BYTES:
                raise AgentError("opencode's answer is too large.")
            if len(fresh) < len(page) or not cursor:
                return found

    async def _read_messages(
        self, session: wire.Session, limit: int, cursor: str | None
    ) -> tuple[list[wire.Message], str | None]:
        """Return the newest messages before a cursor, oldest first, and the cursor of the page before."""
        query = {"limit": str(limit)} | ({"before": cursor} if cursor else {})
        path = f"{_session_path(session)}/message"
        status, headers, data = await self._call_with_retries("GET", path, query, None, API_CALL_TIMEOUT_SECONDS)
        return _read_answer(list[wire.Message], path, status, data), headers.get("X-Next-Cursor")

    async def list_permission_requests(self, directory: str) -> Sequence[wire.PermissionAsked]:
        """Return the permission requests that wait for an answer."""
        return await self._send_request(list[wire.PermissionAsked], "GET", "/permission", directory=directory)

    async def answer_permission(self, permission: str, directory: str, body: Mapping[str, str]) -> None:
        path = f"/permission/{_quote_segment(permission)}/reply"
        await self._send_request(None, "POST", path, directory=directory, body=body)

    async def reject_question(self, question: str, directory: str) -> None:
        await self._send_request(None, "POST", f"/question/{_quote_segment(question)}/reject", directory=directory)

    async def dispose_directory(self, directory: str) -> None:
        """Make the server free the memory that it holds for a directory."""
        await self._send_request(None, "POST", "/instance/dispose", directory=directory, within=5.0)

    async def _send_request(
        self,
        kind: type[T] | None,
        method: str,
        path: str,
        *,
        directory: str | None = None,
        body: Mapping[str, Any] | None = None,
        within: float = API_CALL_TIMEOUT_SECONDS,
    ) -> T:
        query = {} if directory is None else {"directory": directory}
        status, _, data = await self._call_with_retries(method, path, query, body, within)
        return _read_answer(kind, path, status, data)

    async def _call_with_retries(
        self, method: str, path: str, query: Mapping[str, str], body: Any, within: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        for pause in READ_RETRY_SECONDS if method == "GET" else ():
            try:
                return await self._call_once(method, path, query, body, within)
            except ConnectionCut:
                await asyncio.sleep(pause)
        return await self._call_once(method, path, query, body, within)

    async def _call_once(
        self, method: str, path: str, query: Mapping[str, str], body: Any, within: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        if self._http.closed:
            raise ServerGone("opencode is gone.")
        try:
            async with (
                asyncio.timeout(within),
                self._http.request(method, self.base + path, params=query, json=body, allow_redirects=False) as answer,
            ):
                data = bytearray()
                async for piece in answer.content.iter_chunked(64 * 1024):
                    data += piece
                    if len(data) > MAX_OPENCODE_ANSWER_BYTES:
                        raise AgentError(f"opencode's answer is larger than {MAX_OPENCODE_ANSWER_BYTES >> 20} MiB.")
                return answer.status, answer.headers, bytes(data)
        except TimeoutError as error:
            raise ServerGone(f"opencode did not answer {path} within {within:g} s.") from error
        except aiohttp.ClientError as error:
            raise ConnectionCut(f"opencode does not answer at {self.base}: {error}.") from error


def _quote_segment(name: str) -> str:
    return quote(name, safe="")


def _session_path(session: wire.Session) -> str:
    return f"/session/{_quote_segment(session.id)}"


def _read_answer(kind: type[T] | None, path: str, status: int, data: bytes) -> T:
    if status == 401:
        raise RequestRefused("opencode refused the password.", status)
    if status >= 400:
        raise RequestRefused(f"opencode answered {status} to {path}: {_read_complaint(data)}.", status)
    if kind is None:
        return None  # type: ignore[return-value]  # the caller wants no answer
    try:
        return msgspec.json.decode(surrogates.replace_lone_surrogates(data), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AgentError(f"opencode's answer to {path} cannot be read: {error}.") from error


def _read_complaint(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=wire.Error).short_text.rstrip(".")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data[:200].decode("utf-8", "replace").strip() or "no reason given"
