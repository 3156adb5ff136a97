"""What an attempt says, gathered and put on disk in batches.

Text comes in many small pieces: they are joined for some 30 ms before they become an event. A
disk that cannot keep up holds the agent back, never the memory.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from gateway import log
from gateway.domain.event import AnyHappening, Log, Said, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.ports.backend import Reply, SessionRef
from gateway.domain.ports.store import Fenced, Store
from gateway.domain.run import Run
from gateway.engine.storage_retry import until_taken
from gateway.errors import AgentError

#: seconds that pieces of text are gathered
GATHER = 0.03
#: characters of one event's text
EVENT = 64 * 1024
#: characters of a larger output that its event shows
SHOWN = 2000
#: characters that may wait to be written before the agent has to wait
WAITING = 512 * 1024
#: what an event that is not text counts for beside its own size: a flood of small ones is held back, too
LEAST = 200

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyHappening).decode
_log = log.get()


class Recorder:
    """Hears one attempt. `close` gives back what has not been written, for the final transaction."""

    def __init__(
        self, store: Store, run: Run, *, backend: str, outputs: Path, limit: int, fenced: Callable[[], None]
    ) -> None:
        """Args:
        backend: name that the session reference is kept under.
        outputs: directory for outputs that are too large for an event.
        limit: characters of the answer; more is an `AgentError`.
        fenced: called when this attempt turns out not to be the run's any more.
        """
        self._store = store
        self._run = run
        self._backend = backend
        self._outputs = outputs
        self._limit = limit
        self._fenced = fenced
        self._said: list[Said] = []
        self._waiting = 0
        self._answer: list[str] = []
        self._length = 0
        self._reply: str | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self.usage = Usage()

    @property
    def reply(self) -> str:
        """The answer so far."""
        return self._reply if self._reply is not None else "".join(self._answer)

    async def hear(self, said: Said | SessionRef | Reply) -> None:
        """Take in one thing that the backend yielded.

        Raises:
            AgentError: the answer is longer than allowed.
        """
        match said:
            case SessionRef(ref=ref):
                name = f"{self._backend}:{ref}"
                await until_taken(lambda: self._store.runs.save_backend_ref(self._run.id, self._run.epoch, name))
                return
            case Reply(text=text):
                self._check_length(len(text))
                _stored(Text(delta=text))
                self._reply = text
                return
            case ToolEnd(output=output) if len(output) > EVENT:
                said = await asyncio.to_thread(self._spill, said)
            case Log(message=message) if len(message) > EVENT:
                said = Log(level=said.level, message=message[:EVENT] + "…")
        kept, size = _stored(said)
        self._count(kept)
        self._add(kept, size)
        self._gather()
        while self._waiting > WAITING:
            await self._write_now()

    async def flush(self) -> None:
        """Write down what was heard so far: what is written by others next comes after it."""
        while self._gathering is not None or self._writing is not None:
            await self._write_now()

    async def close(self) -> list[Said]:
        """Stop writing and return what is left to write."""
        if (writing := self._writing) is not None:
            try:
                await asyncio.wait({writing})
            finally:
                writing.cancel()
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        said, self._said, self._waiting = self._said, [], 0
        return said

    def begin_again(self) -> None:
        """Hear the next round: its answer and usage are its own."""
        self._answer, self._length, self._reply, self.usage = [], 0, None, Usage()

    def _count(self, said: Said) -> None:
        match said:
            case Text(delta=delta):
                self._length += len(delta)
                self._check_length(self._length)
                self._answer.append(delta)
            case Usage():
                self.usage += said

    def _check_length(self, length: int) -> None:
        if length > self._limit:
            raise AgentError(f"the agent's answer is longer than {self._limit} characters (limits.output).")

    def _add(self, said: Said, size: int) -> None:
        if isinstance(said, (Text, Thinking)):
            self._waiting += len(said.delta)
            last = self._said[-1] if self._said else None
            if type(last) is type(said) and len(last.delta) + len(said.delta) <= EVENT:
                self._said[-1] = type(said)(delta=last.delta + said.delta)
                return
            for start in range(0, len(said.delta), EVENT):
                self._said.append(type(said)(delta=said.delta[start : start + EVENT]))
            return
        self._waiting += LEAST + size
        self._said.append(said)

    def _gather(self) -> None:
        if self._gathering is None and self._writing is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER, self._begin_to_write)

    async def _write_now(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._begin_to_write()
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def _begin_to_write(self) -> None:
        self._gathering = None
        said, self._said, self._waiting = self._said, [], 0
        self._writing = asyncio.create_task(self._write(said), name="record")

    async def _write(self, said: list[Said]) -> None:
        try:
            await until_taken(lambda: self._store.events.append(self._run.id, self._run.epoch, said))
        except Fenced:
            self._fenced()
        finally:
            self._writing = None
        if self._said:
            self._gather()

    def _spill(self, said: ToolEnd) -> ToolEnd:
        data = said.output.encode("utf-8", "replace")
        file = self._outputs / f"{self._run.id}-{hashlib.sha256(data).hexdigest()[:16]}.txt"
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.write_bytes(data)
            kept = str(file)
        except OSError as error:  # the run goes on without the rest
            _log.warning("run.output_lost", file=str(file), error=str(error))
            kept = ""
        return msgspec.structs.replace(said, output=said.output[:SHOWN] + "…", output_file=kept)


def _stored(said: Said) -> tuple[Said, int]:
    """Return an event as it will be read back from the log, with its size.

    Raises:
        AgentError: it cannot be written down: lone surrogates, a cost that is no number.
    """
    try:
        data = _encode(said)
        if len(data) > EVENT and isinstance(said, Tool):
            data = _encode(msgspec.structs.replace(said, args=f"({len(data)} bytes, too large for the log)"))
        return cast("Said", _decode(data)), len(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise AgentError(f"the agent said what cannot be written down: {error}.") from error
