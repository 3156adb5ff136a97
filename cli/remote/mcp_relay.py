"""Relays MCP messages between a pipe and the gateway: each line becomes a POST, each answer becomes a line.

The gateway keeps no state between messages, so the relay only remembers which protocol version the client
uses. Messages are forwarded in parallel. A restart of the gateway in between does no harm.

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
#: most bytes of one message
LONGEST = 8 << 20
#: messages that are forwarded at the same time; more wait
AT_ONCE = 16
#: JSON-RPC error codes: the line is not a message, and the gateway could not be reached
UNREAD, FAILED = -32700, -32000

_VERSION = "io.modelcontextprotocol/protocolVersion"
#: the parameters of a request that the header `Mcp-Name` repeats
_NAMES = ("name", "uri")


def check(client: Client) -> None:
    """Check that the gateway accepts MCP messages from us.

    Raises:
        GatewayError: it does not; the message says why.
    """
    client.post(PATH, {"jsonrpc": "2.0", "id": 0, "method": "ping"})


class Relay:
    """Relays messages between one client and the gateway."""

    def __init__(self, client: Client, out: BinaryIO) -> None:
        self._client = client
        self._out = out
        self._writing = threading.Lock()
        #: limits the messages that are forwarded at the same time
        self._room = threading.Semaphore(AT_ONCE)
        #: open requests by id; False if the client has cancelled the request
        self._wanted: dict[str, bool] = {}
        #: protocol version from `initialize`; None for versions of MCP without that request
        self._version: str | None = None

    def run(self, lines: BinaryIO) -> None:
        """Relay until there are no more lines and all requests are answered."""
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
            self._say(_error(None, UNREAD, "a message must be one JSON object on a line."))
        elif "id" in message and "method" in message:
            self._wanted[_name(message["id"])] = True
            if message["method"] == "initialize":
                self._hand_on(line, message)  # the next messages depend on its answer
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
        """Forward a request and its answer. The answer to a cancelled request is dropped."""
        id_ = message["id"]
        try:
            answer = self._client.relay(PATH, line.strip(), self._headers(message), self._read)
        except GatewayError as error:
            answer = _error(id_, FAILED, str(error))
        except Exception as error:  # the client gets every error as an answer
            answer = _error(id_, FAILED, f"this command failed unexpectedly: {type(error).__name__}: {error}")
        if message["method"] == "initialize":
            self._version = _inner(answer, "protocolVersion", "result")
        if self._wanted.pop(_name(id_), False):
            self._say({**answer, "id": id_})

    def _read(self, response: HTTPResponse) -> dict[str, Any]:
        """Return the answer to a request. Forward notifications that come before it at once."""
        if "text/event-stream" not in response.headers.get("Content-Type", ""):
            answer = json.loads(response.read())
            if isinstance(answer, dict):
                return answer
            raise ValueError("the gateway's answer is not a JSON object")
        for event in sse.events(response):
            if "method" not in event.data:
                answer = event.data
                assert isinstance(answer, dict)
                return answer
            self._say(event.data)
        raise ConnectionResetError("the stream broke off")

    def _headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Return the headers that repeat fields of a message."""
        version = _inner(message, "_meta", "params", within=_VERSION)
        found = {"MCP-Protocol-Version": version or self._version, "Mcp-Method": message["method"]}
        found["Mcp-Name"] = next((name for key in _NAMES if (name := _inner(message, key))), None)
        return {name: value for name, value in found.items() if isinstance(value, str) and value.isprintable()}

    def _say(self, message: Mapping[str, Any]) -> None:
        # The client is gone, so the end of its messages follows.
        with self._writing, suppress(BrokenPipeError):
            self._out.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            self._out.flush()


def _name(id_: object) -> str:
    """Return the key of a request id: 7 and "7" are different ids."""
    return json.dumps(id_)


def _inner(message: Mapping[str, Any], name: str, place: str = "params", *, within: str | None = None) -> Any:
    """Return a field of a message's `params`, or of another object in it; None if it is missing."""
    found = message.get(place)
    for key in (name, within):
        if key is not None:
            found = found.get(key) if isinstance(found, dict) else None
    return found


def _error(id_: object, code: int, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": text}}
