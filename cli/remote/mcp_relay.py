"""Relays MCP messages between a pipe and the gateway: each line becomes a POST, each answer becomes a line.

The gateway keeps no state between messages, so the relay only remembers which protocol version the client
uses. Messages are forwarded in parallel. A restart of the gateway in between does no harm.

Format of the pipe: https://modelcontextprotocol.io/specification, transports, stdio.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.client import HTTPResponse
from typing import Any

from cli.remote import sse
from cli.remote.client import GatewayClient
from cli.remote.message_pipe import MessagePipe, ReceivedMessage, build_error, request_key
from gateway.errors import GatewayError

MCP_PATH = "/mcp"
#: most bytes of one message
MAX_RELAYED_BYTES = 8 << 20
#: messages that are forwarded at the same time; more wait
MAX_PARALLEL_REQUESTS = 16
#: JSON-RPC error code: the gateway could not be reached
CODE_UNREACHED = -32000

_VERSION_FIELD = "io.modelcontextprotocol/protocolVersion"
#: the parameters of a request that the header `Mcp-Name` repeats
_NAME_PARAMETERS = ("name", "uri")


def check_access(client: GatewayClient) -> None:
    """Check that the gateway accepts MCP messages from us.

    Raises:
        GatewayError: it does not; the message says why.
    """
    client.post(MCP_PATH, {"jsonrpc": "2.0", "id": 0, "method": "ping"})


class McpRelay:
    """Relays messages between one client and the gateway."""

    def __init__(self, client: GatewayClient, pipe: MessagePipe) -> None:
        self._client = client
        self._pipe = pipe
        #: limits the messages that are forwarded at the same time
        self._room = threading.Semaphore(MAX_PARALLEL_REQUESTS)
        #: open requests by id; False if the client has cancelled the request
        self._wanted: dict[str, bool] = {}
        #: protocol version from `initialize`; None for versions of MCP without that request
        self._version: str | None = None

    def relay_messages(self) -> None:
        """Relay until there are no more messages and all requests are answered."""
        for received in self._pipe.read_messages():
            self._receive_message(received)
        for _ in range(MAX_PARALLEL_REQUESTS):
            self._room.acquire()

    def _receive_message(self, received: ReceivedMessage) -> None:
        message = received.content
        if "id" in message and "method" in message:
            self._wanted[request_key(message["id"])] = True
            if message["method"] == "initialize":
                self._forward_request(*received)  # the next messages depend on its answer
            else:
                self._room.acquire()
                # A daemon: Ctrl-C does not wait for answers.
                threading.Thread(target=self._forward_in_thread, args=received, daemon=True).start()
        elif message.get("method") == "notifications/cancelled":
            given_up = request_key(_get_nested(message, "requestId"))
            if given_up in self._wanted:
                self._wanted[given_up] = False

    def _forward_in_thread(self, line: bytes, message: Mapping[str, Any]) -> None:
        try:
            self._forward_request(line, message)
        finally:
            self._room.release()

    def _forward_request(self, line: bytes, message: Mapping[str, Any]) -> None:
        """Forward a request and its answer. The answer to a cancelled request is dropped."""
        id_ = message["id"]
        try:
            answer = self._client.relay_post(MCP_PATH, line.strip(), self._build_headers(message), self._read_answer)
        except GatewayError as error:
            answer = build_error(id_, CODE_UNREACHED, str(error))
        except Exception as error:  # the client gets every error as an answer
            answer = build_error(
                id_, CODE_UNREACHED, f"this command failed unexpectedly: {type(error).__name__}: {error}"
            )
        if message["method"] == "initialize":
            self._version = _get_nested(answer, "protocolVersion", "result")
        if self._wanted.pop(request_key(id_), False):
            self._pipe.send_message({**answer, "id": id_})

    def _read_answer(self, response: HTTPResponse) -> dict[str, Any]:
        """Return the answer to a request. Forward notifications that come before it at once."""
        if "text/event-stream" not in response.headers.get("Content-Type", ""):
            answer = json.loads(response.read())
            if isinstance(answer, dict):
                return answer
            raise ValueError("the gateway's answer is not a JSON object")
        for event in sse.read_events(response):
            if "method" not in event.data:
                answer = event.data
                assert isinstance(answer, dict)
                return answer
            self._pipe.send_message(event.data)
        raise ConnectionResetError("the stream broke off")

    def _build_headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Return the headers that repeat fields of a message."""
        version = _get_nested(message, "_meta", "params", within=_VERSION_FIELD)
        found = {"MCP-Protocol-Version": version or self._version, "Mcp-Method": message["method"]}
        found["Mcp-Name"] = next((name for key in _NAME_PARAMETERS if (name := _get_nested(message, key))), None)
        return {name: value for name, value in found.items() if isinstance(value, str) and value.isprintable()}


def _get_nested(message: Mapping[str, Any], name: str, place: str = "params", *, within: str | None = None) -> Any:
    """Return a field of a message's `params`, or of another object in it; None if it is missing."""
    found = message.get(place)
    for key in (name, within):
        if key is not None:
            found = found.get(key) if isinstance(found, dict) else None
    return found
