"""Messages between a supervisor and a generation: JSON lines over a socket pair.

The supervisor's socket closes when the supervisor ends, for any reason: a generation that reads the
end of the stream knows that it is an orphan.
"""

from __future__ import annotations

import contextlib
import json
import socket
from enum import StrEnum
from typing import Any, NamedTuple

#: bytes of one message
MAX_CONTROL_MESSAGE_BYTES = 64 * 1024


class MessageType(StrEnum):
    """The type of a message, grouped by sender."""

    # sent by a generation
    READY = "ready"
    BEAT = "beat"
    PASSIVE = "passive"
    FAILED = "failed"
    MIGRATION = "migration"
    #: a client asked over HTTP to restart or stop the gateway
    RESTART_PLEASE = "restart please"
    STOP_PLEASE = "stop please"
    # sent by the supervisor
    LEAD = "lead"
    STEP_DOWN = "step down"
    STOP = "stop"
    #: a notice for people, shown in `/health`
    NOTE = "note"


class Message(NamedTuple):
    word: MessageType
    #: the values that belong to this type of message
    about: dict[str, Any]


def encode_message(word: MessageType, **about: Any) -> bytes:
    return json.dumps({"word": word, **about}).encode() + b"\n"


class MessageDecoder:
    """Turns a stream of bytes into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def decode_messages(self, data: bytes) -> list[Message]:
        """Return the messages that are complete now; skip invalid ones."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-MAX_CONTROL_MESSAGE_BYTES:]
        return [message for message in map(_parse_message, lines) if message is not None]


class ControlChannel:
    """The supervisor's end, which never blocks."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.end = end
        self._decoder = MessageDecoder()
        self._unsent = b""

    def send_message(self, word: MessageType, **about: Any) -> None:
        """Send a message now, or as soon as the socket has room; `receive_messages` reports a closed channel."""
        self._unsent += encode_message(word, **about)
        self._send_pending()

    def _send_pending(self) -> None:
        with contextlib.suppress(OSError):
            self._unsent = self._unsent[self.end.send(self._unsent) :]

    def receive_messages(self) -> list[Message] | None:
        """Return the new messages, or None when the other end is closed."""
        if self._unsent:
            self._send_pending()
        try:
            data = self.end.recv(MAX_CONTROL_MESSAGE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self._decoder.decode_messages(data) if data else None


def _parse_message(line: bytes) -> Message | None:
    try:
        found = json.loads(line)
        return Message(MessageType(found.pop("word")), found)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
