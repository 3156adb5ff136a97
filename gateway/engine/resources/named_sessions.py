"""Named sessions: those that a client made with a name of its own, to be found again.

The session is one as any other; that it has a name, and which, is a note beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from gateway.domain import ids
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.ports.store import Store
from gateway.domain.session import SessionKey
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Roster
from gateway.engine.resources.sessions import Sessions
from gateway.errors import SessionNotFound

#: how the names of notes begin
_PREFIX = "session:"


class Named(Struct, frozen=True, kw_only=True):
    """A session with a name."""

    id: str
    name: str
    #: of the session
    key: str
    #: milliseconds since 1970 UTC
    created: int


class NamedSessions:
    """The named sessions of each channel."""

    def __init__(self, store: Store, sessions: Sessions, roster: Roster, clock: Clock) -> None:
        self._store = store
        self._sessions = sessions
        self._roster = roster
        self._clock = clock

    async def create(self, channel: str, name: str, idempotent: IdempotencyKey | None = None) -> Named:
        """Make a session of the default agent with a name, which need not be the only one of that name."""
        fresh = SessionKey.of(self._roster.default.id, channel, ids.ulid(self._clock()).lower())
        opened = await self._store.sessions.open(fresh, idempotent)
        made = Named(id=opened.chat, name=name, key=opened.key, created=opened.created)
        await self._store.notes.save(channel, {_PREFIX + made.id: msgspec.json.encode(made).decode()})
        return made

    async def list(self, channel: str) -> Sequence[Named]:
        """Return the named sessions of a channel, the oldest first."""
        kept = await self._store.notes.list(channel, _PREFIX)
        return [msgspec.json.decode(value, type=Named) for value in kept.values()]

    async def find(self, channel: str, id_: str) -> Named:
        """Return a named session by its id.

        Raises:
            SessionNotFound: there is none.
        """
        kept = await self._store.notes.get(channel, _PREFIX + id_)
        if kept is None:
            raise SessionNotFound(f"there is no session {id_[:200]!r}.")
        return msgspec.json.decode(kept, type=Named)

    async def delete(self, channel: str, id_: str) -> None:
        """Delete a named session; what is at work in it is cancelled.

        Raises:
            SessionNotFound: there is none.
        """
        found = await self.find(channel, id_)
        with suppress(SessionNotFound):  # deleted by another door before
            await self._sessions.delete(found.key, force=True)
        await self._store.notes.save(channel, {_PREFIX + id_: None})
