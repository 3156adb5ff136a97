"""The messages of an agent: JSON-RPC, one in each line, over the pipes of its process."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any, get_args

from acp.meta import CLIENT_METHODS
from acp.schema import SessionNotification

from gateway import log
from gateway.backends.acp.remarks import AgentRemarks
from gateway.errors import AgentError
from gateway.json_data import surrogates
from gateway.process.child import Child, read_lines
from gateway.process.terminal_text import clean_bytes, clean_stray_text, split_message

#: bytes of one message, at most: of a picture in it, which is in base64, three quarters
MAX_MESSAGE_BYTES = 16 << 20
#: requests of an agent that may be without an answer; people are asked 16 at a time, the rest is answered at once
MAX_UNANSWERED_REQUESTS = 64
#: characters of an agent's other output that an error message shows, at most
MAX_QUOTED_OUTPUT_CHARACTERS = 500

#: methods and kinds of updates that the library knows
_METHODS = frozenset(CLIENT_METHODS.values())
_UPDATE_KINDS = frozenset(
    kind
    for update in get_args(SessionNotification.model_fields["update"].annotation)
    for kind in get_args(update.model_fields["session_update"].annotation)
)

#: the code of an error that an agent tells in another form than the protocol's
_UNKNOWN_ERROR_CODE = -32603

_log = log.get()


class LineTransport:
    """The library's transport over a child's pipes. It bounds the lines, and reads only while there is room."""

    def __init__(self, child: Child, room: asyncio.Event) -> None:
        self._child = child
        self._room = room
        #: the beginning of a line whose end has not come yet
        self._begun = bytearray()
        self._reading: AsyncGenerator[bytes, None] = read_lines(child.stdout, MAX_MESSAGE_BYTES, self._begun)
        self._writing = asyncio.Lock()
        #: the agent's requests that may still come: it has to wait while too many have no answer
        self._requests = asyncio.Semaphore(MAX_UNANSWERED_REQUESTS)
        #: whether the agent has closed its output, or what it writes cannot be read on
        self.over = False
        #: why that cannot be read on
        self.fault: AgentError | None = None
        #: the beginning of the lines that are no message
        self._stray_text = ""
        #: the remarks of the turn that runs
        self.remarks: AgentRemarks | None = None

    async def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            async with self._writing:
                await self._child.write_stdin(data)
        finally:
            if "method" not in message:
                self._requests.release()

    async def receive(self) -> dict[str, Any] | None:
        while True:
            await self._room.wait()
            try:
                line = await anext(self._reading, None)
            except AgentError as error:  # the line is too long; what follows cannot be trusted
                self.fault, line = error, None
            if line is None:
                self.over = True
                return None
            before, data, _ = split_message(line)
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(surrogates.replace_lone_surrogates(data))
                if not before or "jsonrpc" in message:
                    self._note_stray_text(before)
                    if (prepared := _prepare_message(message)) is None:
                        continue
                    if "method" in prepared and "id" in prepared:
                        await self._requests.acquire()
                    return prepared
            self._note_stray_text(clean_stray_text(line))

    def _note_stray_text(self, text: str) -> None:
        """Show a text that is no message, and log the first ones: a program printed something."""
        if self.remarks is not None:
            self.remarks.read_stray_text(text)
        if text and len(self._stray_text) < MAX_QUOTED_OUTPUT_CHARACTERS:
            self._stray_text = f"{self._stray_text}\n{text}".strip()[:MAX_QUOTED_OUTPUT_CHARACTERS]
            _log.warning("acp.not_a_message", pid=self._child.pid, text=text[:MAX_QUOTED_OUTPUT_CHARACTERS])

    @property
    def stray_text(self) -> str:
        """The beginning of what the agent wrote that is no message."""
        begun = clean_bytes(bytes(self._begun[:MAX_QUOTED_OUTPUT_CHARACTERS]))
        return f"{self._stray_text}\n{begun}".strip()[:MAX_QUOTED_OUTPUT_CHARACTERS]

    async def close(self) -> None:
        await self._reading.aclose()


def _prepare_message(message: dict[str, Any]) -> dict[str, Any] | None:
    """Return a message as the library can read it; None if it is none.

    The library would log a notification that it does not know as an error, each time that it comes; it gets the name
    of an extension. It would stop to read after an answer whose id is a list, or whose error is no object.
    """
    method = message.get("method")
    if method is None:
        error = message.get("error")
        if not isinstance(message.get("id"), int | str):
            return None
        if error is not None and not (isinstance(error, dict) and isinstance(error.get("code"), int)):
            told = error.get("message") if isinstance(error, dict) else error
            message["error"] = {"code": _UNKNOWN_ERROR_CODE, "message": str(told)}
    elif isinstance(method, str) and "id" not in message:
        kind = _find_update_kind(message.get("params")) if method == CLIENT_METHODS["session_update"] else None
        if not (method in _METHODS if kind is None else kind in _UPDATE_KINDS):
            message["method"] = f"_{method.removeprefix('_')}"
    return message


def _find_update_kind(params: Any) -> str | None:
    update = params.get("update") if isinstance(params, dict) else None
    kind = update.get("sessionUpdate") if isinstance(update, dict) else None
    return kind if isinstance(kind, str) else None
