"""Log lines that libraries write."""

from __future__ import annotations

import logging

from structlog.testing import capture_logs

from gateway.log import StandardLogHandler

ACCEPTING = "socket.accept() out of system resource\nsocket: "


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    told = None if error is None else (type(error), error, None)
    return logging.LogRecord("asyncio", logging.ERROR, "", 0, message, None, told)


def test_what_a_library_says_again_and_again_is_written_once_a_second() -> None:
    now = 0.0
    handler = StandardLogHandler(lambda: now)
    with capture_logs() as written:
        for number in range(64):
            handler.emit(record(f"{ACCEPTING}{number}", OSError(24, "Too many open files")))
        now = 1.0
        handler.emit(record(f"{ACCEPTING}65", OSError(24, "Too many open files")))

    assert [line["event"] for line in written] == ["library.asyncio"] * 2


def test_another_error_is_written_whatever_came_before() -> None:
    handler = StandardLogHandler(lambda: 0.0)
    with capture_logs() as written:
        for error in (OSError(24, "a"), OSError(24, "b"), ValueError("b"), None):
            handler.emit(record(ACCEPTING, error))

    assert len(written) == 4
