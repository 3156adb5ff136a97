"""The connection to an editor: its requests come in, our updates and requests go out."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cli import output
from cli.acp.updates import Update
from cli.command import complete_commands
from cli.remote.message_pipe import MessagePipe, build_error, request_key
from gateway.errors import GatewayError, InvalidRequest, NotFound, Unavailable

#: JSON-RPC error codes, as ACP has them; not -32000, which makes an editor ask the user to sign in
CODE_INVALID_REQUEST, CODE_UNKNOWN_METHOD = -32600, -32601
CODE_INVALID_PARAMS, CODE_FAILED, CODE_NOT_FOUND = -32602, -32603, -32002

#: our requests that wait for an answer of the editor
MAX_OPEN_EDITOR_REQUESTS = 64

#: what to do with the result of a request; None if the editor answered with an error
AnswerReader = Callable[[dict[str, Any] | None], None]


class EditorConnection:
    """Sends to one editor, and matches its answers to our requests. Any thread may send."""

    def __init__(self, pipe: MessagePipe, env: Mapping[str, str]) -> None:
        """Args:
        env: the environment that the commands which the editor shows must reach the gateway of.
        """
        self._pipe = pipe
        self._env = env
        self._ids = itertools.count(1)
        #: what waits for an answer, by the key of the request's id
        self._open: dict[str, AnswerReader] = {}
        self._lock = threading.Lock()

    def read_requests(self) -> Iterator[dict[str, Any]]:
        """Yield the requests and notifications of the editor until it closes the pipe."""
        for _, message in self._pipe.read_messages():
            if isinstance(message.get("method"), str):
                yield message
            elif "method" in message:
                self._pipe.send_message(
                    build_error(message.get("id"), CODE_INVALID_REQUEST, "method: it must be a text.")
                )
            else:
                self._receive_answer(message)

    def send_result(self, id_: object, result: dict[str, Any]) -> None:
        self._pipe.send_message({"jsonrpc": "2.0", "id": id_, "result": result})

    def send_error(self, id_: object, error: Exception) -> None:
        """Answer a request with an error, in words for the user."""
        data = {"code": getattr(error, "code", GatewayError.code)}
        self._pipe.send_message(build_error(id_, _code_of(error), self.describe_error(error), data))

    def describe_error(self, error: Exception) -> str:
        """Return what went wrong, and how to solve it, in words for the user."""
        if not isinstance(error, GatewayError):
            return f"this command failed unexpectedly: {type(error).__name__}: {error}"
        remedies = (error.remedy or "").splitlines()
        return self.complete_commands(output.join_sentences([output.end_sentence(error.message), *remedies]))

    def complete_commands(self, text: str) -> str:
        """Return a text of ours with all that its commands need to reach the gateway."""
        return complete_commands(text, self._env)

    def send_unknown_method(self, id_: object, method: str) -> None:
        self._pipe.send_message(build_error(id_, CODE_UNKNOWN_METHOD, f"there is no method {method[:64]!r}."))

    def send_update(self, session: str, update: Update) -> None:
        params = {"sessionId": session, "update": update}
        self._pipe.send_message({"jsonrpc": "2.0", "method": "session/update", "params": params})

    def send_request(self, method: str, params: dict[str, Any], take: AnswerReader) -> int:
        """Send a request. Returns its id.

        Args:
            take: called with the answer, in a thread of its own; never if the request is withdrawn.

        Raises:
            Unavailable: too many requests wait for an answer.
        """
        with self._lock:
            if len(self._open) >= MAX_OPEN_EDITOR_REQUESTS:
                raise Unavailable(f"{MAX_OPEN_EDITOR_REQUESTS} requests wait for an answer in the editor.")
            id_ = next(self._ids)
            self._open[request_key(id_)] = take
        self._pipe.send_message({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})
        return id_

    def withdraw_request(self, id_: int) -> None:
        """Tell the editor that a request needs no answer any more. An editor that does not know this ignores it."""
        with self._lock:
            if self._open.pop(request_key(id_), None) is None:
                return
        self._pipe.send_message({"jsonrpc": "2.0", "method": "$/cancel_request", "params": {"requestId": id_}})

    def _receive_answer(self, message: dict[str, Any]) -> None:
        with self._lock:
            take = self._open.pop(request_key(message.get("id")), None)
        if take is not None:
            result = message.get("result")
            # In a thread, because it calls the gateway: meanwhile other messages are read.
            threading.Thread(target=take, args=(result if isinstance(result, dict) else None,), daemon=True).start()


def _code_of(error: Exception) -> int:
    if isinstance(error, NotFound):
        return CODE_NOT_FOUND
    return CODE_INVALID_PARAMS if isinstance(error, InvalidRequest) else CODE_FAILED
