"""Named sessions: sessions that a client created under a name of its choice.

Such a session is like any other. Its name is stored separately, in a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from gateway.domain import ids
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.ports.store import Store
from gateway.domain.session import Message, SessionKey
from gateway.domain.times import Clock
from gateway.domain.unreadable import RowKind
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.sessions import Sessions
from gateway.errors import SessionNotFound, Unreadable

#: the prefix of the notes' names
_NOTE_NAME_PREFIX = "session:"


class NamedSession(Struct, frozen=True, kw_only=True):
    """A session with a name."""

    id: str
    name: str
    #: key of the session
    key: str
    #: milliseconds since 1970 UTC
    created: int


class NamedSessions:
    """The named sessions of each channel."""

    def __init__(self, store: Store, sessions: Sessions, agents: Agents, clock: Clock) -> None:
        self._store = store
        self._sessions = sessions
        self._agents = agents
        self._clock = clock

    async def create_session(self, channel: str, name: str, idempotent: IdempotencyKey | None = None) -> NamedSession:
        """Create a session of the default agent with a name. Several sessions may have the same name."""
        fresh = SessionKey.from_parts(self._agents.default_agent.id, channel, ids.make_ulid(self._clock()).lower())
        opened = await self._store.sessions.open(fresh, idempotent)
        made = NamedSession(id=opened.chat, name=name, key=opened.key, created=opened.created)
        await self._store.notes.save(channel, {_NOTE_NAME_PREFIX + made.id: msgspec.json.encode(made).decode()})
        return made

    async def import_session(
        self, channel: str, made: NamedSession, messages: Sequence[Message], *, dry_run: bool = False
    ) -> bool:
        """Store a session of another system with its transcript. Returns False if there is one with that key."""
        key = SessionKey.parse_key(made.key)
        assert key is not None, "the API makes session keys"
        named = {_NOTE_NAME_PREFIX + made.id: msgspec.json.encode(made).decode()}
        return await self._store.sessions.import_session(key, named, messages, dry_run=dry_run)

    async def list_sessions(self, channel: str) -> Sequence[NamedSession]:
        """Return the named sessions of a channel, the oldest first."""
        kept = await self._store.notes.list(channel, _NOTE_NAME_PREFIX)
        found = []
        for name, value in kept.items():
            try:
                found.append(msgspec.json.decode(value, type=NamedSession))
            except msgspec.DecodeError as error:
                self._store.unreadable.note(RowKind.NOTE, (channel, name), error)
        return found

    async def get_session(self, channel: str, id_: str) -> NamedSession:
        """Return a named session by its id.

        Raises:
            SessionNotFound: there is none.
        """
        kept = await self._store.notes.get(channel, _NOTE_NAME_PREFIX + id_)
        if kept is None:
            raise SessionNotFound(f"there is no session {id_[:200]!r}.")
        try:
            return msgspec.json.decode(kept, type=NamedSession)
        except msgspec.DecodeError as error:
            self._store.unreadable.note(RowKind.NOTE, (channel, _NOTE_NAME_PREFIX + id_), error)
            raise Unreadable(f"the session {id_[:200]!r} cannot be read: {error}.") from error

    async def delete_session(self, channel: str, id_: str) -> None:
        """Delete a named session. Its unfinished runs are cancelled.

        Raises:
            SessionNotFound: there is none.
        """
        found = await self.get_session(channel, id_)
        with suppress(SessionNotFound):  # it was deleted through another part of the API
            await self._sessions.delete_session(found.key, force=True)
        await self._store.notes.save(channel, {_NOTE_NAME_PREFIX + id_: None})
