"""Reads and writes JSON-RPC messages on a pipe, one on each line. MCP and ACP programs talk to us like this."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import RawIOBase
from typing import Any, BinaryIO, NamedTuple

#: JSON-RPC error code of a line that is not a message
CODE_UNREADABLE = -32700


class ReceivedMessage(NamedTuple):
    """A message from the other program."""

    #: the line that it came in
    line: bytes
    content: dict[str, Any]


class MessagePipe:
    """The two directions of a pipe to one program. Any thread may send."""

    def __init__(self, lines: BinaryIO, out: RawIOBase, max_bytes: int) -> None:
        """Args:
        out: unbuffered, because a buffer that a thread is writing to aborts the end of the interpreter.
        max_bytes: most bytes of one message that is read.
        """
        self._lines = lines
        self._out = out
        self._max_bytes = max_bytes
        self._writing = threading.Lock()

    def read_messages(self) -> Iterator[ReceivedMessage]:
        """Yield the messages until the pipe is closed. A line that is not a message is answered with an error."""
        while line := self._lines.readline(self._max_bytes + 1):
            if len(line) > self._max_bytes:
                self._refuse_line(f"a message has more than {self._max_bytes} bytes.")
                while line and not line.endswith(b"\n"):
                    line = self._lines.readline(self._max_bytes)
            elif line.strip():
                content = _parse_object(line)
                if content is None:
                    self._refuse_line("a message must be one JSON object on a line.")
                else:
                    yield ReceivedMessage(line, content)

    def send_message(self, message: Mapping[str, Any]) -> None:
        # If the other program is gone, the end of its messages follows.
        with self._writing, suppress(BrokenPipeError):
            rest = json.dumps(message, separators=(",", ":")).encode() + b"\n"
            while rest:
                rest = rest[self._out.write(rest) :]

    def _refuse_line(self, text: str) -> None:
        self.send_message(build_error(None, CODE_UNREADABLE, text))


def build_error(id_: object, code: int, text: str, data: object = None) -> dict[str, Any]:
    """Return the message that answers a request with an error."""
    more = {} if data is None else {"data": data}
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": text, **more}}


def request_key(id_: object) -> str:
    """Return the key of a request id: 7 and "7" are different ids."""
    return json.dumps(id_)


def _parse_object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
