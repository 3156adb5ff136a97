"""Logs are events: one JSON line each, with the ids of the things that the event concerns.

Records are made by structlog and written by a thread: a slow disk or a full pipe never holds the
event loop. What does not fit into the queue is counted, and the count is written.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

import gateway
from gateway.security import redaction

# structlog imports rich, if installed, for a console that is not used here; that takes 35 ms of each start.
with gateway.block_import("rich"):
    import structlog

#: lines that may wait to be written
MAX_QUEUED_LINES = 10_000
#: characters that are logged of a value from outside
MAX_VALUE_CHARS = 2_000
#: seconds in which a library's record is left out that repeats the last one, and characters that tell it does
REPEATED_RECORD_SECONDS, MAX_COMPARED_CHARS = 1.0, 40

_encode = msgspec.json.Encoder(enc_hook=repr).encode
_LEVEL_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Sink(Protocol):
    """Where finished lines go; called on the writing thread."""

    def __call__(self, line: bytes, level: int) -> None: ...


class LogWriter:
    """Passes lines to the sinks on its own thread."""

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self._sinks = list(sinks)
        self._queue: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._write_queued, name="log-writer", daemon=True)
        self._thread.start()

    def queue_line(self, line: bytes, level: int) -> None:
        if self._queue.qsize() >= MAX_QUEUED_LINES:
            self._dropped += 1
        else:
            self._queue.put((line, level))

    def close(self, timeout: float = 2.0) -> None:
        """Write the queued lines, for at most `timeout` seconds."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _write_queued(self) -> None:
        while (item := self._queue.get()) is not None:
            self._write_line(*item)
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._write_line(
                    _encode({"time": _timestamp_now(), "level": "warning", "event": "log.dropped", "lines": dropped}),
                    30,
                )

    def _write_line(self, line: bytes, level: int) -> None:
        for sink in self._sinks:
            try:
                sink(line, level)
            except OSError:
                self._dropped += 1  # a full disk must not end the thread


def configure_logging(level: str, sinks: Iterable[Sink], secrets: Iterable[str] = ()) -> LogWriter:
    """Send all logs, ours and those of the standard library, to the sinks as JSON lines.

    Args:
        level: the lowest level that is written.
        sinks: called with each line, without its line feed.
        secrets: values that are never written.
    """
    writer = LogWriter(sinks)
    hide = _Redactor([secret for secret in secrets if redaction.can_hide_secret(secret)])

    def write(_: Any, method: str, event: MutableMapping[str, Any]) -> str:
        number = _LEVEL_NUMBERS.get(event.get("level", method), 20)
        writer.queue_line(hide(_encode_event(event)), number)
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _add_timestamp,
            structlog.processors.format_exc_info,
            _shorten_values,
            write,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVEL_NUMBERS[level]),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    _take_over_standard_logging(_LEVEL_NUMBERS[level])
    return writer


def _encode_event(event: MutableMapping[str, Any]) -> bytes:
    try:
        return _encode(event)
    except (UnicodeEncodeError, RecursionError, TypeError, ValueError):  # lone surrogates, and worse
        return _encode({name: ascii(value) for name, value in event.items()})


class _Redactor:
    """Replaces secrets in a finished line, wherever they came from."""

    def __init__(self, secrets: list[str]) -> None:
        forms = {secret.encode() for secret in secrets} | {_encode(secret)[1:-1] for secret in secrets}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, line: bytes) -> bytes:
        for form in self._forms:
            if form in line:
                line = line.replace(form, redaction.HIDDEN.encode())
        return line


def _timestamp_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _add_timestamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {"time": _timestamp_now(), "level": event.pop("level", "info"), "event": event.pop("event", ""), **event}


def _shorten_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARS and name != "exception":
            event[name] = value[:MAX_VALUE_CHARS] + "…"
    return event


class StandardLogHandler(logging.Handler):
    """Takes records of libraries that log with the standard library.

    One that repeats the last one within a second is left out: without file descriptors, asyncio logs each connection
    that it cannot accept.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last: tuple[object, ...] = ()
        self._last_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if self._repeats_last(record):
            return
        log = structlog.get_logger()
        known = record.levelname.lower() if record.levelname.lower() in _LEVEL_NUMBERS else "error"
        log.log(
            _LEVEL_NUMBERS[known],
            f"library.{record.name}",
            message=record.getMessage(),
            exc_info=record.exc_info if record.exc_info and record.exc_info[0] else None,
        )

    def _repeats_last(self, record: logging.LogRecord) -> bool:
        """Return whether a record is like the last one; addresses and times later in its message do not matter."""
        error = record.exc_info[1] if record.exc_info else None
        beginning = record.getMessage()[:MAX_COMPARED_CHARS]
        said = (record.name, record.levelno, beginning, type(error), str(error)[:MAX_VALUE_CHARS])
        now, before, before_at = self._clock(), self._last, self._last_at
        if said == before and now - before_at < REPEATED_RECORD_SECONDS:
            return True
        self._last, self._last_at = said, now
        return False


def _take_over_standard_logging(level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [StandardLogHandler()]
    root.setLevel(max(level, logging.WARNING))


get = structlog.get_logger
#: add values to all log lines of this task or block
bind = structlog.contextvars.bind_contextvars
bound = structlog.contextvars.bound_contextvars
