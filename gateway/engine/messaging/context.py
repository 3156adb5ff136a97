"""What a channel or an inlet may ask of the engine, each under its own name."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple, Protocol

from gateway.domain.event import Event
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.inbound import Inbound
from gateway.domain.page import Page
from gateway.domain.permission import Answer, PermissionRequest
from gateway.domain.ports.channel import Standing
from gateway.domain.ports.store import Store
from gateway.domain.run import Accepted, Run, RunFilter, RunSpec, Source, Status
from gateway.domain.session import SessionKey
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Roster
from gateway.engine.resources.permissions import Permissions
from gateway.errors import Conflict, GatewayError

DAY = 24 * 3600 * 1000
#: milliseconds that a sender's id of what came in is remembered
REMEMBERED = 30 * DAY
#: milliseconds that a pairing code is good for
CODE = 600_000
#: characters of a pairing code; 40 random bits
CODE_LENGTH = 8
#: runs of a chat that one `stop` cancels
STOPPED = 100
#: permission requests of a run among which one that waits is looked for
ASKED = 100
#: characters of a chat's title that are kept
TITLE = 100

_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without I, O, 0 and 1


class Runs(Protocol):
    """What the engine does for a desk."""

    permissions: Permissions

    async def submit(self, spec: RunSpec, key: IdempotencyKey | None = None) -> Accepted: ...

    async def cancel(self, run_id: str) -> Run: ...

    def watch(self, run_id: str) -> AsyncGenerator[Event, None]: ...


class Paired(NamedTuple):
    """A chat that was let in by a code."""

    chat: str
    title: str
    #: milliseconds since 1970 UTC
    at: int


class EngineDesk:
    """A `Desk` of one channel."""

    def __init__(
        self,
        name: str,
        agent: str | None,
        source: Source,
        *,
        store: Store,
        engine: Runs,
        roster: Roster,
        clock: Clock,
    ) -> None:
        self._name = name
        self._agent = agent
        self._store = store
        self._engine = engine
        self._roster = roster
        self._clock = clock
        self._source = source

    @property
    def trouble(self) -> str | None:
        """Why nothing that comes in can become a run: the agent that is to answer is gone or disabled."""
        try:
            self._roster.choose(self._agent)
        except GatewayError as error:
            return str(error)
        return None

    # --- runs -------------------------------------------------------------------------------

    async def submit(self, inbound: Inbound) -> Run:
        session = await self.session(inbound.chat)
        spec = RunSpec(
            source=self._source,
            agent=session.agent,
            session=str(session),
            input=inbound.content,
            deliver=(inbound.reply_to,) if inbound.reply_to else (),
            labels=dict(inbound.labels),
        )
        # No digest: what comes again under its id is the same, whatever it says now.
        key = IdempotencyKey(scope=f"inbound {self._name}", key=inbound.id, digest="", lifetime=REMEMBERED)
        return (await self._engine.submit(spec, key)).run

    async def stop(self, chat: str) -> int:
        stopped = 0
        for run in await self._open(chat):
            try:
                await self._engine.cancel(run.id)
            except Conflict:  # it has ended in between
                continue
            stopped += 1
        return stopped

    async def permit(self, chat: str, answer: Answer, which: tuple[str, str] | None = None) -> PermissionRequest | None:
        for run in reversed(await self._open(chat)):
            asked = await self._store.permissions.list(run.id, Page(limit=ASKED))
            for request in reversed(asked):
                if request.answer is None and which in (None, (run.id, request.id)):
                    return await self._engine.permissions.answer(run.id, request.id, answer, f"{self._name}:{chat}")
        return None

    async def standing(self, chat: str) -> Standing:
        session = await self.session(chat)
        found = await self._open(chat)
        running = sum(run.status is Status.RUNNING for run in found)
        return Standing(session=str(session), agent=session.agent, running=running, queued=len(found) - running)

    async def begin_anew(self, chat: str) -> None:
        number = int(await self.note(f"session:{chat}") or 1)
        await self.keep(f"session:{chat}", str(number + 1))

    async def current(self, chat: str) -> str:
        """Return the name of a chat's session: the chat's own, with a number after it has begun anew."""
        number = await self.note(f"session:{chat}")
        return chat if number is None else f"{chat}~{number}"

    def watch(self, run: str) -> AsyncGenerator[Event, None]:
        return self._engine.watch(run)

    async def session(self, chat: str, agent: str | None = None) -> SessionKey:
        """Return the key of a chat's session, with the channel's agent unless another is named."""
        return SessionKey.of(self._roster.choose(agent or self._agent).id, self._name, await self.current(chat))

    async def _open(self, chat: str) -> Sequence[Run]:
        """Return the runs of a chat's session that are queued or running, the newest first."""
        name = await self.current(chat)
        found: list[Run] = []
        for agent in self._roster.ids:
            for status in (Status.QUEUED, Status.RUNNING):
                which = RunFilter(session=str(SessionKey(agent, self._name, name)), status=status)
                found += await self._store.runs.list(which, Page(limit=STOPPED))
        return found

    # --- who is let in ----------------------------------------------------------------------

    async def knows(self, chat: str) -> bool:
        return await self.note(f"chat:{chat}") is not None

    async def code(self) -> tuple[str, int]:
        """Make a code that lets one chat in; returns it, and when its time is over."""
        code = "".join(secrets.choice(_ALPHABET) for _ in range(CODE_LENGTH))
        expires = self._clock() + CODE
        await self._store.notes.save(self._name, {_hidden(code): ""}, expires=expires)
        return code, expires

    async def redeem(self, code: str, chat: str, title: str) -> bool:
        hidden = _hidden(code)
        paired = json.dumps({"title": title[:TITLE], "at": self._clock()})
        return await self._store.notes.save(self._name, {hidden: None, f"chat:{chat}": paired}, only_if=hidden)

    async def moved(self, chat: str, to: str) -> None:
        known = await self.note(f"chat:{chat}")
        if known is not None:
            await self._store.notes.save(self._name, {f"chat:{to}": known, f"chat:{chat}": None})

    async def dismiss(self, chat: str) -> bool:
        """Let a paired chat in no more; False if it was not."""
        name = f"chat:{chat}"
        return await self._store.notes.save(self._name, {name: None}, only_if=name)

    async def paired(self) -> list[Paired]:
        found: Mapping[str, str] = await self._store.notes.list(self._name, "chat:")
        told = {name.removeprefix("chat:"): json.loads(value) for name, value in found.items()}
        return [Paired(chat, about["title"], about["at"]) for chat, about in told.items()]

    # --- notes ------------------------------------------------------------------------------

    async def note(self, name: str) -> str | None:
        return await self._store.notes.get(self._name, name)

    async def keep(self, name: str, value: str, *, days: float | None = None) -> None:
        expires = None if days is None else self._clock() + int(days * DAY)
        await self._store.notes.save(self._name, {name: value}, expires=expires)


def _hidden(code: str) -> str:
    """Return the name of the note about a code: whoever reads the database cannot use it."""
    said = code.strip().upper().replace("-", "")
    return f"code:{hashlib.sha256(said.encode('utf-8', 'replace')).hexdigest()}"
