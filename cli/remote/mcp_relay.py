"""Relays MCP messages between a pipe and the gateway: each line is a POST, each answer is a line.

The gateway keeps nothing between messages, so that all there is to remember is which version a client
speaks; messages are handed on at the same time, and a restart of the gateway in between is not noticed.

Format of the pipe: https://modelcontextprotocol.io/specification, transports, stdio.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any, BinaryIO

from cli.remote import sse
from cli.remote.client import Client
from gateway.errors import GatewayError

PATH = "/mcp"
#: bytes of one message
LONGEST = 8 << 20
#: messages that are handed on at the same time; more wait
AT_ONCE = 16
#: codes of errors: it is no message, and the gateway was not reached
UNREAD, FAILED = -32700, -32000

_VERSION = "io.modelcontextprotocol/protocolVersion"
#: which of a request's parameters the header `Mcp-Name` repeats
_NAMES = ("name", "uri")


def check(client: Client) -> None:
    """See whether the gateway speaks MCP with us.

    Raises:
        GatewayError: it does not, and why.
    """
    client.post(PATH, {"jsonrpc": "2.0", "id": 0, "method": "ping"})


class Relay:
    """Between one client and the gateway."""

    def __init__(self, client: Client, out: BinaryIO) -> None:
        self._client = client
        self._out = out
        self._writing = threading.Lock()
        #: for messages that are handed on at the same time
        self._room = threading.Semaphore(AT_ONCE)
        #: requests under way; False for one that the client has given up
        self._wanted: dict[str, bool] = {}
        #: what was agreed on at the beginning, in versions that begin by that
        self._version: str | None = None

    def run(self, lines: BinaryIO) -> None:
        """Relay until there are no more lines, and what was asked is answered."""
        while line := lines.readline(LONGEST + 1):
            if len(line) > LONGEST:
                self._say(_error(None, UNREAD, f"a message has more than {LONGEST} bytes."))
                while line and not line.endswith(b"\n"):
                    line = lines.readline(LONGEST)
            elif line.strip():
                self._take(line)
        for _ in range(AT_ONCE):
            self._room.acquire()

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._say(_error(None, UNREAD, "a message is one JSON object on a line."))
        elif "id" in message and "method" in message:
            self._wanted[_name(message["id"])] = True
            if message["method"] == "initialize":
                self._hand_on(line, message)  # what follows goes by its answer
            else:
                self._room.acquire()
                # A daemon: Ctrl-C does not wait for answers.
                threading.Thread(target=self._hand_on_aside, args=(line, message), daemon=True).start()
        elif message.get("method") == "notifications/cancelled":
            given_up = _name(_inner(message, "requestId"))
            if given_up in self._wanted:
                self._wanted[given_up] = False

    def _hand_on_aside(self, line: bytes, message: Mapping[str, Any]) -> None:
        try:
            self._hand_on(line, message)
        finally:
            self._room.release()

    def _hand_on(self, line: bytes, message: Mapping[str, Any]) -> None:
        """Hand on a request, and what comes back; an answer that is not wanted any more is dropped."""
        id_ = message["id"]
        try:
            answer = self._client.relay(PATH, line.strip(), self._headers(message), self._read)
        except GatewayError as error:
            answer = _error(id_, FAILED, str(error))
        except Exception as error:  # the border: whoever asked is told
            answer = _error(id_, FAILED, f"this command broke: {type(error).__name__}: {error}")
        if message["method"] == "initialize":
            self._version = _inner(answer, "protocolVersion", "result")
        if self._wanted.pop(_name(id_), False):
            self._say({**answer, "id": id_})

    def _read(self, response: HTTPResponse) -> dict[str, Any]:
        """Return the answer to a request; what is told on the way to it is handed on at once."""
        if "text/event-stream" not in response.headers.get("Content-Type", ""):
            answer = json.loads(response.read())
            if isinstance(answer, dict):
                return answer
            raise ValueError("the gateway's answer is none")
        for event in sse.events(response):
            if "method" not in event.data:
                answer = event.data
                assert isinstance(answer, dict)
                return answer
            self._say(event.data)
        raise ConnectionResetError("the stream broke off")

    def _headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Return the headers that repeat what a message says."""
        version = _inner(message, "_meta", "params", within=_VERSION)
        found = {"MCP-Protocol-Version": version or self._version, "Mcp-Method": message["method"]}
        found["Mcp-Name"] = next((name for key in _NAMES if (name := _inner(message, key))), None)
        return {name: value for name, value in found.items() if isinstance(value, str) and value.isprintable()}

    def _say(self, message: Mapping[str, Any]) -> None:
        # A client that has gone reads no more; the end of its messages follows.
        with self._writing, suppress(BrokenPipeError):
            self._out.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            self._out.flush()


def _name(id_: object) -> str:
    """Return what an id is known by: 7 and "7" are two."""
    return json.dumps(id_)


def _inner(message: Mapping[str, Any], name: str, place: str = "params", *, within: str | None = None) -> Any:
    """Return what a message says in its `params`, or another place; None for nothing."""
    found = message.get(place)
    for key in (name, within):
        if key is not None:
            found = found.get(key) if isinstance(found, dict) else None
    return found


def _error(id_: object, code: int, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": text}}
