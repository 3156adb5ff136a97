"""What a program writes next to its answer, as lines for the log of a run: at once, clean, and never too many.

Programs tell on standard error that a model refuses them, that they try again, that they wait for something. They
also write traces and megabytes of diagnostics there. So each line is cleaned of terminal codes, shown once, cut at its
end, and left out if it is routine. A program has an allowance of lines, which grows again with time.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from gateway.process.terminal_text import clean_bytes, shows_text

#: lines that may be shown at once, the seconds until one more may, and lines of one turn in all
MAX_LINES_AT_ONCE, LINE_INTERVAL_SECONDS, MAX_LINES = 20, 30.0, 200
#: bytes or characters of a line that are read; the rest is not shown
MAX_LINE_BYTES = 2000
#: lines of one piece that are examined: a flood must not keep this process from other work
MAX_LINES_PER_PIECE = 500

#: what loggers put before a message: a time, and how important it is
_LOG_PREFIX = re.compile(
    r"(?:[\[(]?(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?[\])]?[\s|:-]+)?"
    r"(?:[\[(]?\b(?P<level>trace|debug|verbose|info|log|notice|warn|warning|error|critical|fatal)"
    r"(?:[\])](?:[\s|:-]+|$)|\s*[|:-]+\s*|(?-i:(?<=[A-Z]))\s+))?",
    re.IGNORECASE,
)
#: the level of a line of fields such as `time=… level=info msg=…`
_LINE_LEVEL = re.compile(r"\blevel=\"?(\w+)", re.IGNORECASE)
_ROUTINE_LEVELS = frozenset({"trace", "debug", "verbose", "info", "log"})
#: lines of nothing but fields, and of nothing but brackets: parts of diagnostics
_ROUTINE = re.compile(r"(?:\[[\w/.-]+\]|[\w.-]++=\S*+)(?:\s++[\w.-]++=\S*+)++|[\[\](){},;\s]+")

_Said = TypeVar("_Said")


class SideOutput:
    """The lines of one turn that wait to be shown."""

    def __init__(
        self, rewrite: Callable[[str], str] = lambda line: line, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Args: rewrite: returns a line as it is shown; empty if it is routine."""
        self._rewrite = rewrite
        self._clock = clock
        self._lines: deque[str] = deque()
        self._arrived = asyncio.Event()
        self._failure: Exception | None = None
        #: the beginning of a line whose end has not come yet
        self._begun = bytearray()
        self._shown: set[str] = set()
        #: lines that may be shown now, and in this turn; since when they count
        self._allowance, self._left = float(MAX_LINES_AT_ONCE), MAX_LINES
        self._counted_at = clock()
        #: lines that were left out since the last one that was shown, because they were too many
        self._left_out = 0

    def feed(self, data: bytes) -> None:
        """Take a piece of what the program writes to standard error."""
        *ends, last = data.split(b"\n")
        for end in ends[:MAX_LINES_PER_PIECE]:
            self._extend_line(end)
            if not self._may_show():  # before the line is examined: a flood costs little
                self._left_out += 1
            elif not self._begun.startswith((b" ", b"\t")):  # such a line continues the one before, as in a stack trace
                self.read_line(clean_bytes(bytes(self._begun)))
            self._begun.clear()
        self._left_out += len(ends[MAX_LINES_PER_PIECE:])
        self._extend_line(last)

    def _extend_line(self, piece: bytes) -> None:
        self._begun += piece[: MAX_LINE_BYTES - len(self._begun)]

    def read_line(self, line: str) -> None:
        """Take a line of the program, without controls of a terminal."""
        if told := drop_log_prefix(line[:MAX_LINE_BYTES]):
            self.show(self._rewrite(told))

    def show(self, text: str) -> None:
        """Show a text, unless it was shown before, or is one too many."""
        if text in self._shown or not shows_text(text):
            return
        if not self._may_show():
            self._left_out += 1
            return
        self._allowance -= 1
        self._left -= 1
        self._shown.add(text)
        self._lines.append(f"{text} (after {self._left_out} lines that are left out)" if self._left_out else text)
        self._left_out = 0
        self._arrived.set()

    def _may_show(self) -> bool:
        now = self._clock()
        self._allowance = min(MAX_LINES_AT_ONCE, self._allowance + (now - self._counted_at) / LINE_INTERVAL_SECONDS)
        self._counted_at = now
        return self._allowance >= 1 and self._left > 0

    def fail(self, error: Exception) -> None:
        """End what `mix_in` yields with an error: what the program tells shows that it will not succeed."""
        self._failure = error
        self._arrived.set()

    def take_lines(self) -> list[str]:
        """Return the lines since the last call.

        Raises:
            Exception: there is no other line, and `fail` was given this error.
        """
        lines = list(self._lines)
        self._lines.clear()
        if self._failure is None:
            self._arrived.clear()
        elif not lines:
            raise self._failure
        return lines

    async def wait_for_line(self) -> None:
        await self._arrived.wait()


def drop_log_prefix(line: str) -> str:
    """Return a line without the time and the level that a logger puts before it; empty if it is routine."""
    line = line.strip()
    found = _LOG_PREFIX.match(line)
    assert found is not None, "it matches the empty text, too"
    field = _LINE_LEVEL.search(line)
    level = found["level"] or (field[1] if field else "")
    if level.lower() in _ROUTINE_LEVELS or (not level and _ROUTINE.fullmatch(line)):
        return ""
    return line[found.end() :].strip()


async def mix_in(
    output: AsyncGenerator[_Said, None], side: SideOutput, show: Callable[[str], _Said]
) -> AsyncGenerator[_Said, None]:
    """Yield what a generator yields, and the lines of a side output as they come.

    Closing it closes the generator. A cancel cancels the generator, and what that says then is yielded, too. Lines that
    have come by then precede each thing that the generator yields, its end and its error.

    Args:
        show: makes what is yielded for a line.
    """
    arrived = asyncio.ensure_future(side.wait_for_line())
    step: asyncio.Future[_Said | None] = asyncio.ensure_future(anext(output, None))
    told: asyncio.Future[_Said | None] | None = None
    try:
        while True:
            while not step.done():
                waiting: set[asyncio.Future[Any]] = {step, arrived}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if arrived.done():
                    for line in side.take_lines():
                        yield show(line)
                    arrived = asyncio.ensure_future(side.wait_for_line())
            for line in side.take_lines():
                yield show(line)
            if (said := step.result()) is None:
                return
            told = step
            yield said
            step = asyncio.ensure_future(anext(output, None))
    except (asyncio.CancelledError, Exception):  # the generator may say more on its way: what a turn has cost
        async with aclosing(_cancel_output(output, step, is_told=step is told)) as rest:
            async for said in rest:
                yield said
        raise
    finally:
        arrived.cancel()
        await _end_step(step)
        await output.aclose()


async def _cancel_output(
    output: AsyncGenerator[_Said, None], step: asyncio.Future[_Said | None], *, is_told: bool
) -> AsyncGenerator[_Said, None]:
    """Cancel a generator, and yield what it says then.

    Args:
        is_told: whether what the step has brought was yielded.
    """
    has_heard = step.cancel()
    await asyncio.wait({step})
    if not is_told and _has_said(step) and (said := step.result()) is not None:
        yield said
    if has_heard and not step.cancelled():
        step = asyncio.ensure_future(anext(output, None))
    else:  # it had just said something, or was not asked for more yet; or it has ended
        step = asyncio.ensure_future(output.athrow(asyncio.CancelledError()))
    try:
        await asyncio.wait({step})
        while _has_said(step) and (said := step.result()) is not None:
            yield said
            step = asyncio.ensure_future(anext(output, None))
            await asyncio.wait({step})
    finally:
        await _end_step(step)


def _has_said(step: asyncio.Future[_Said | None]) -> bool:
    return not step.cancelled() and step.exception() is None and step.result() is not None


async def _end_step(step: asyncio.Future[Any]) -> None:
    step.cancel()
    await asyncio.wait({step})
    if not step.cancelled():
        step.exception()  # there may be one next to the error that is raised
