"""Stores what an attempt says, in batches.

Text arrives in many small pieces. The recorder joins them for about 30 ms before they become an event; people wait
for the first words, so those for a few milliseconds only. If the disk
cannot keep up, the agent has to wait; the memory that is used stays bounded.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from gateway import log
from gateway.domain.event import AnyEventData, BackendEvent, Log, Notice, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.ports.backend import FullReply, SessionRef
from gateway.domain.ports.run_store import Fenced
from gateway.domain.ports.store import Store
from gateway.domain.run import FinishReason, Run
from gateway.engine.storage_retry import until_stored
from gateway.errors import AgentError

#: seconds for which pieces of text are collected, and those for which the first ones are
GATHER_SECONDS, FIRST_GATHER_SECONDS = 0.03, 0.005
#: characters of text in one event
MAX_EVENT_CHARACTERS = 64 * 1024
#: characters that an event shows of an output that is too large for it
MAX_SHOWN_OUTPUT_CHARACTERS = 2000
#: characters that may be unwritten before the agent has to wait
MAX_UNWRITTEN_CHARACTERS = 512 * 1024
#: characters that an event without text counts in addition to its size: many small events make the agent wait, too
EVENT_OVERHEAD_CHARACTERS = 200

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyEventData).decode
_log = log.get()


class Recorder:
    """Records one attempt. `close` returns the events that are not yet written, for the final transaction."""

    def __init__(
        self, store: Store, run: Run, *, backend: str, outputs: Path, limit: int, fenced: Callable[[], None]
    ) -> None:
        """Args:
        backend: name of the backend, which is stored with the session reference.
        outputs: directory for outputs that are too large for an event.
        limit: characters of the answer; a longer one is an `AgentError`.
        fenced: called when another attempt at the run has begun.
        """
        self._store = store
        self._run = run
        self._backend = backend
        self._outputs = outputs
        self._limit = limit
        self._fenced = fenced
        self._unwritten: list[BackendEvent] = []
        self._unwritten_size = 0
        self._answer: list[str] = []
        self._length = 0
        self._reply: str | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._write_task: asyncio.Task[None] | None = None
        self._has_written = False
        self.usage = Usage()
        #: why the answer ended
        self.finish = FinishReason.STOP
        #: the remark after which the agent has said nothing else; empty if it has
        self.last_remark = ""
        #: what the run will carry, in the order in which it was said
        self.notices: tuple[Notice, ...] = ()

    @property
    def current_reply(self) -> str:
        """The answer so far."""
        return self._reply if self._reply is not None else "".join(self._answer)

    async def record_output(self, said: BackendEvent | SessionRef | FullReply | FinishReason) -> None:
        """Record one thing that the backend yielded.

        Raises:
            AgentError: the answer is longer than allowed.
        """
        match said:
            case SessionRef(ref=ref):
                name = f"{self._backend}:{ref}"
                await until_stored(lambda: self._store.runs.save_backend_ref(self._run.id, self._run.epoch, name))
                return
            case FullReply(text=text):
                self._check_length(len(text))
                _normalize_event(Text(delta=text))
                self._reply = text
                return
            case FinishReason():
                self.finish = said
                if not said.remark:
                    return
                said = Log(level="warning", message=said.remark)
            case ToolEnd(output=output) if len(output) > MAX_EVENT_CHARACTERS:
                said = await asyncio.to_thread(self._spill_output, said)
            case Log(message=message) if len(message) > MAX_EVENT_CHARACTERS:
                said = msgspec.structs.replace(said, message=message[:MAX_EVENT_CHARACTERS] + "…")
        stored, size = _normalize_event(said)
        self._count_output(stored)
        self._buffer_event(stored, size)
        self._schedule_write()
        while self._unwritten_size > MAX_UNWRITTEN_CHARACTERS:
            await self._write_now()

    async def flush_events(self) -> None:
        """Write what was recorded so far, so that events that others write next come after it."""
        while self._write_timer is not None or self._write_task is not None:
            await self._write_now()

    async def close(self) -> list[BackendEvent]:
        """Stop writing. Returns the events that are not yet written."""
        if (writing := self._write_task) is not None:
            try:
                await asyncio.wait({writing})
            finally:
                writing.cancel()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        said, self._unwritten, self._unwritten_size = self._unwritten, [], 0
        return said

    def start_next_round(self) -> None:
        """Begin the next round, with an answer and a usage of its own."""
        self._answer, self._length, self._reply, self.usage = [], 0, None, Usage()
        self.finish, self.last_remark = FinishReason.STOP, ""

    def _count_output(self, said: BackendEvent) -> None:
        match said:
            case Text(delta=delta):
                self._length += len(delta)
                self._check_length(self._length)
                self._answer.append(delta)
            case Usage():
                self.usage += said
            case Log(notice=Notice() as notice) if notice not in self.notices:
                self.notices += (notice,)
                _log.warning(f"run.{notice}", why=said.message)
        self.last_remark = said.message if isinstance(said, Log) else ""

    def _check_length(self, length: int) -> None:
        if length > self._limit:
            raise AgentError(f"the agent's answer is longer than {self._limit} characters (limits.output).")

    def _buffer_event(self, said: BackendEvent, size: int) -> None:
        if isinstance(said, (Text, Thinking)):
            self._unwritten_size += len(said.delta)
            last = self._unwritten[-1] if self._unwritten else None
            if type(last) is type(said) and len(last.delta) + len(said.delta) <= MAX_EVENT_CHARACTERS:
                self._unwritten[-1] = type(said)(delta=last.delta + said.delta)
                return
            for start in range(0, len(said.delta), MAX_EVENT_CHARACTERS):
                self._unwritten.append(type(said)(delta=said.delta[start : start + MAX_EVENT_CHARACTERS]))
            return
        self._unwritten_size += EVENT_OVERHEAD_CHARACTERS + size
        self._unwritten.append(said)

    def _schedule_write(self) -> None:
        if self._write_timer is None and self._write_task is None:
            seconds = GATHER_SECONDS if self._has_written else FIRST_GATHER_SECONDS
            self._write_timer = asyncio.get_running_loop().call_later(seconds, self._start_write)

    async def _write_now(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._start_write()
        if self._write_task is not None:
            await asyncio.shield(self._write_task)

    def _start_write(self) -> None:
        self._write_timer, self._has_written = None, True
        said, self._unwritten, self._unwritten_size = self._unwritten, [], 0
        self._write_task = asyncio.create_task(self._write_events(said), name="record")

    async def _write_events(self, said: list[BackendEvent]) -> None:
        try:
            await until_stored(lambda: self._store.events.append(self._run.id, self._run.epoch, said))
        except Fenced:
            self._fenced()
        finally:
            self._write_task = None
        if self._unwritten:
            self._schedule_write()

    def _spill_output(self, said: ToolEnd) -> ToolEnd:
        data = said.output.encode("utf-8", "replace")
        file = self._outputs / f"{self._run.id}-{hashlib.sha256(data).hexdigest()[:16]}.txt"
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.write_bytes(data)
            stored_in = str(file)
        except OSError as error:  # the run continues without the rest of this output
            _log.warning("run.output_lost", file=str(file), error=str(error))
            stored_in = ""
        return msgspec.structs.replace(
            said, output=said.output[:MAX_SHOWN_OUTPUT_CHARACTERS] + "…", output_file=stored_in
        )


def _normalize_event(said: BackendEvent) -> tuple[BackendEvent, int]:
    """Return an event as it will be read from the log, and its size in bytes.

    Raises:
        AgentError: the event cannot be stored: it has lone surrogates, or a cost that is not a number.
    """
    try:
        data = _encode(said)
        if len(data) > MAX_EVENT_CHARACTERS and isinstance(said, Tool):
            data = _encode(msgspec.structs.replace(said, args=f"({len(data)} bytes, too large for the log)"))
        return cast("BackendEvent", _decode(data)), len(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise AgentError(f"the agent said something that cannot be stored: {error}.") from error
